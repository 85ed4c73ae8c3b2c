package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/getkin/kin-openapi/openapi3filter"
)

// pair is one call: what was asked and what came back.
type pair struct {
	request      *http.Request
	requestBody  []byte
	response     *http.Response
	responseBody []byte
}

// check tells how p breaks the document, and which operation it is. A request that was refused may be wrong.
func (c *contract) check(ctx context.Context, p pair) (operation string, err error) {
	route, params, err := c.router.FindRoute(p.request)
	if err != nil {
		return "", fmt.Errorf("the document has no such call: %w", err)
	}
	operation = route.Operation.OperationID
	request := p.request.Clone(ctx)
	request.Body = io.NopCloser(bytes.NewReader(p.requestBody))
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		// Defaults would be written into the request.
		Options: &openapi3filter.Options{SkipSettingDefaults: true, IncludeResponseStatus: true},
	}
	if p.response.StatusCode < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(ctx, input); err != nil {
			return operation, fmt.Errorf("a wrong request was accepted: %w", err)
		}
	}
	documented := route.Operation.Responses.Status(p.response.StatusCode)
	switch {
	case documented == nil && p.response.StatusCode >= http.StatusBadRequest:
		return operation, c.checkError(p)
	case documented != nil && len(documented.Value.Content) == 0 && len(p.responseBody) > 0:
		return operation, errors.New("an answer that the document has without a body has one")
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: p.response.StatusCode, Header: p.response.Header, Options: input.Options,
	}
	return operation, openapi3filter.ValidateResponse(ctx, output.SetBodyBytes(p.responseBody))
}

// checkError: the document names no answers but the successful ones; its v1Error is the form of the others.
func (c *contract) checkError(p pair) error {
	if kind := p.response.Header.Get("Content-Type"); kind != "application/json" {
		return fmt.Errorf("an error is sent as %q", kind)
	}
	var body any
	if err := json.Unmarshal(p.responseBody, &body); err != nil {
		return fmt.Errorf("an error is no JSON: %w", err)
	}
	return c.document.Components.Schemas["v1Error"].Value.VisitJSON(body)
}

// recorder is a transport that checks each call that goes through it.
type recorder struct {
	contract *contract
	next     http.RoundTripper

	mu       sync.Mutex
	broken   []error
	accepted map[string]int // operation to calls
	refused  map[string]int
}

func newRecorder(c *contract, next http.RoundTripper) *recorder {
	return &recorder{contract: c, next: next, accepted: map[string]int{}, refused: map[string]int{}}
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	p := pair{request: request}
	var err error
	if request.Body != nil {
		if p.requestBody, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = io.NopCloser(bytes.NewReader(p.requestBody))
	}
	if p.response, err = r.next.RoundTrip(request); err != nil {
		return nil, err
	}
	p.responseBody, err = io.ReadAll(p.response.Body)
	_ = p.response.Body.Close()
	if err != nil {
		return nil, err
	}
	p.response.Body = io.NopCloser(bytes.NewReader(p.responseBody))

	operation, broken := r.contract.check(request.Context(), p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if broken != nil {
		broken = fmt.Errorf("%s %s, answered %d: %w", request.Method, operation, p.response.StatusCode, broken)
		r.broken = append(r.broken, broken)
	}
	if p.response.StatusCode < http.StatusBadRequest {
		r.accepted[operation]++
	} else {
		r.refused[operation]++
	}
	return p.response, nil
}
