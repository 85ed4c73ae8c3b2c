package palettetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"time"
)

// Endpoint names one call of Palette's API.
type Endpoint string

// The endpoints of the stand-in.
const (
	Login            Endpoint = "login"
	SystemLogin      Endpoint = "system-login"
	Refresh          Endpoint = "refresh"
	Revoke           Endpoint = "revoke"
	UserInfo         Endpoint = "user-info"
	Alerts           Endpoint = "alerts"
	ProjectsMetadata Endpoint = "projects-metadata"
	PasswordChange   Endpoint = "password-change"
	APIKeyCreate     Endpoint = "api-key-create"
	APIKeyList       Endpoint = "api-key-list"
	APIKeyGet        Endpoint = "api-key-get"
	APIKeyUpdate     Endpoint = "api-key-update"
	APIKeyState      Endpoint = "api-key-state"
	APIKeyDelete     Endpoint = "api-key-delete"
	// unknown is what calls of other paths and methods are counted as.
	unknown Endpoint = "unknown"
)

// bodyLimit is the largest body of a request, in bytes.
const bodyLimit = 1 << 20

// call is one request on its way to an answer.
type call struct {
	*http.Request
	endpoint Endpoint
	body     []byte
	fault    Fault
}

// rawBody is a body that is sent as it stands.
type rawBody string

type handler func(*call) answer

func (s *Server) routes() http.Handler {
	type methods map[string]http.HandlerFunc
	table := map[string]methods{
		"/v1/auth/authenticate":           {"POST": s.serve(Login, s.login)},
		"/v1/auth/syslogin":               {"POST": s.serve(SystemLogin, s.systemLogin)},
		"/v1/auth/refresh/{token}":        {"GET": s.serve(Refresh, s.refresh)},
		"/v1/users/auth/tokens/revoke":    {"POST": s.serve(Revoke, s.revoke)},
		"/v1/users/info":                  {"GET": s.serve(UserInfo, s.userInfo)},
		"/v1/projects/alerts":             {"GET": s.serve(Alerts, s.alerts)},
		"/v1/dashboard/projects/metadata": {"GET": s.serve(ProjectsMetadata, s.projectsMetadata)},
		"/v1/users/password/change":       {"PATCH": s.serve(PasswordChange, s.changePassword)},
		"/v1/apiKeys":                     {"GET": s.serve(APIKeyList, s.listKeys), "POST": s.serve(APIKeyCreate, s.createKey)},
		"/v1/apiKeys/{uid}": {
			"GET": s.serve(APIKeyGet, s.getKey), "PUT": s.serve(APIKeyUpdate, s.updateKey),
			"PATCH": s.serve(APIKeyState, s.setKeyState), "DELETE": s.serve(APIKeyDelete, s.deleteKey),
		},
		"/v1/apiKeys/{uid}/state": {"PUT": s.serve(APIKeyState, s.setKeyState)},
	}
	notFound := s.serve(unknown, func(*call) answer {
		return fail(http.StatusNotFound, "ResourceNotFound", "no such path")
	})
	notAllowed := s.serve(unknown, func(c *call) answer {
		return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "method "+c.Method+" is not allowed")
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/", notFound)
	for pattern, handlers := range table {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if h, found := handlers[r.Method]; found {
				h(w, r)
				return
			}
			notAllowed(w, r)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.serving.Done()
		if r.URL.Path != path.Clean(r.URL.Path) { // the mux would redirect, which turns a POST into a GET
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serve takes a call through what all calls have in common: count, outage, limit, pause, gates and faults.
func (s *Server) serve(e Endpoint, work handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// By the stand-in's clock; net/http's would be the machine's.
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
		// Read first: the server sees its client go away only when it isn't waiting for a body.
		body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		refusal, dropped := s.arrive(e)
		if dropped {
			panic(http.ErrAbortHandler)
		}
		if refusal != nil {
			write(w, *refusal)
			return
		}
		ctx := r.Context()
		if !s.pause(ctx, s.latency()) || !s.pass(ctx, s.before, e) {
			panic(http.ErrAbortHandler)
		}
		a := s.work(&call{Request: r, endpoint: e, body: body, fault: s.takeFault(e)}, work)
		if !s.pass(ctx, s.after, e) {
			panic(http.ErrAbortHandler)
		}
		write(w, a)
	}
}

// work does the call's work, or what its fault puts in place of it.
func (s *Server) work(c *call, work handler) answer {
	if !s.pause(c.Context(), c.fault.Delay) || c.fault.Drop {
		panic(http.ErrAbortHandler)
	}
	a, instead := c.fault.instead()
	if !instead || c.fault.AfterWork {
		if came := work(c); !instead {
			a = came
		}
	}
	if c.fault.DropAfter {
		return answer{}
	}
	return c.fault.dress(a)
}

// pause waits by the stand-in's clock; false means that the client went away.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) latency() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.latency
}

// write sends a; one without a status is never sent, its connection is closed.
func write(w http.ResponseWriter, a answer) {
	if a.status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	switch body := a.body.(type) {
	case nil:
		w.WriteHeader(a.status)
	case rawBody:
		if w.Header().Get("Content-Type") == "" && json.Valid([]byte(body)) {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, string(body))
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

// decode reads the call's body into v; it refuses what isn't JSON of v's form.
func (c *call) decode(v any) *answer {
	if len(c.body) > bodyLimit {
		a := fail(http.StatusRequestEntityTooLarge, "RequestTooLarge", "the body is larger than 1 MiB")
		return &a
	}
	if kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		a := fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body must be application/json")
		return &a
	}
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		a := badRequest("the body is not the JSON of this call: " + decodeError(err))
		return &a
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		a := badRequest("the body goes on after its JSON")
		return &a
	}
	return nil
}

// decodeError tells what is wrong without repeating values, which may be secrets.
func decodeError(err error) string {
	if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); is {
		return "wrong type for " + strconv.Quote(wrong.Field)
	}
	if _, is := errors.AsType[*json.SyntaxError](err); is {
		return "syntax error"
	}
	return err.Error() // an unknown field, or an early end
}
