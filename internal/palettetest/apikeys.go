package palettetest

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Key is an API key as the stand-in knows it, without its secret; see Server.KeySecrets.
type Key struct {
	UID, Name, UserUID string
	Annotations        map[string]string
	Expiry, Created    time.Time
	Active             bool
}

type key struct {
	Key
	secret string
	user   *user
	made   time.Time // by the machine's time
}

func (k *key) alive(now time.Time) bool { return k.Active && now.Before(k.Expiry) }

// opens tells whether the key authenticates a call. The lock is held.
func (s *Server) opens(k *key) bool { return k.alive(s.now()) && !s.lags(k.made) }

// The bodies below are the OpenAPI document's v1ApiKey and its relatives. Of v1ObjectMeta a request may set name,
// annotations and labels. Labels and the fields that Palette populates itself are accepted and dropped.
type keyMeta struct {
	Name                  string            `json:"name,omitempty"`
	UID                   string            `json:"uid,omitempty"`
	Annotations           map[string]string `json:"annotations,omitempty"`
	Labels                map[string]string `json:"labels,omitempty"`
	CreationTimestamp     *time.Time        `json:"creationTimestamp,omitempty"`
	DeletionTimestamp     *time.Time        `json:"deletionTimestamp,omitempty"`
	LastModifiedTimestamp *time.Time        `json:"lastModifiedTimestamp,omitempty"`
}

type keyCreateRequest struct {
	Metadata keyMeta `json:"metadata"`
	Spec     struct {
		Expiry  *time.Time `json:"expiry"`
		UserUID string     `json:"userUid"`
	} `json:"spec"`
}

type keyUpdateRequest struct {
	Metadata keyMeta `json:"metadata"`
	Spec     struct {
		Expiry *time.Time `json:"expiry"`
	} `json:"spec"`
}

type keyStateRequest struct {
	IsActive *bool `json:"isActive"`
}

type keyCreateAnswer struct {
	APIKey string `json:"apiKey"`
	UID    string `json:"uid"`
}

type keyAnswer struct {
	Metadata keyMeta       `json:"metadata"`
	Spec     keySpecAnswer `json:"spec"`
	Status   keyStatus     `json:"status"`
}

type keySpecAnswer struct {
	Expiry time.Time `json:"expiry"`
	User   keyUser   `json:"user"`
}

type keyUser struct {
	UID string `json:"uid"`
}

type keyStatus struct {
	IsActive bool `json:"isActive"`
}

type keyListAnswer struct {
	Items    []keyAnswer `json:"items"`
	ListMeta *listMeta   `json:"listmeta,omitempty"`
}

type listMeta struct {
	Continue string `json:"continue"`
}

// createKey is POST /v1/apiKeys: the one answer that has the key in it.
func (s *Server) createKey(c *call) answer {
	var request keyCreateRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	caller, refusal := s.caller(c)
	if refusal != nil {
		return *refusal
	}
	now := s.now()
	switch {
	case request.Metadata.Name == "":
		return badRequest("metadata.name is required")
	case request.Spec.Expiry == nil || !request.Spec.Expiry.After(now):
		return badRequest("spec.expiry must be in the future")
	}
	owner := caller
	if uid := request.Spec.UserUID; uid != "" && uid != caller.UID {
		if !caller.TenantAdmin {
			return fail(http.StatusForbidden, "OperationForbidden", "only a tenant administrator makes keys for others")
		}
		if owner = s.state.byUID(uid); owner == nil || owner.Org != caller.Org {
			return fail(http.StatusNotFound, "UserNotFound", "no such user in the tenant")
		}
	}
	if s.opts.keyLimit > 0 && s.state.keysOf(owner) >= s.opts.keyLimit {
		return fail(http.StatusBadRequest, "ResourceLimitExceeded", "the user has as many API keys as the tenant allows")
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // see newID
	k := &key{user: owner, made: time.Now(), secret: base64.StdEncoding.EncodeToString(secret), Key: Key{
		UID: newID(), Name: request.Metadata.Name, UserUID: owner.UID, Annotations: request.Metadata.Annotations,
		Expiry: request.Spec.Expiry.UTC(), Created: now.UTC(), Active: true,
	}}
	s.state.keys[k.UID] = k
	s.state.keyUIDs = append(s.state.keyUIDs, k.UID)
	s.state.keySecrets = append(s.state.keySecrets, k.secret)
	return ok(http.StatusCreated, keyCreateAnswer{APIKey: k.secret, UID: k.UID})
}

// listKeys is GET /v1/apiKeys: the caller's own keys, or all of the tenant for its administrator, PageSize of them. Where
// there are more, listmeta.continue goes into the query of the next call. Source: the introduction of Palette's API.
func (s *Server) listKeys(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	caller, refusal := s.caller(c)
	if refusal != nil {
		return *refusal
	}
	list := keyListAnswer{Items: []keyAnswer{}}
	from, refusal := c.page(len(s.state.keyUIDs))
	if refusal != nil {
		return *refusal
	}
	for i, uid := range s.state.keyUIDs[from:] {
		k := s.state.keys[uid]
		if k == nil || !mayManage(caller, k) {
			continue
		}
		if len(list.Items) == s.pageSize() {
			list.ListMeta = &listMeta{Continue: pageToken(from + i)}
			break
		}
		list.Items = append(list.Items, k.answer())
	}
	return ok(http.StatusOK, list)
}

const pageTokenPrefix = "keys from "

// pageToken is an opaque name of a page; page reads it.
func pageToken(from int) string {
	return base64.URLEncoding.EncodeToString([]byte(pageTokenPrefix + strconv.Itoa(from)))
}

// page is where the page begins that the query asks for, among so many.
func (c *call) page(among int) (from int, refusal *answer) {
	token := c.URL.Query().Get("continue")
	if token == "" {
		return 0, nil
	}
	text, err := base64.URLEncoding.DecodeString(token)
	number, isOurs := strings.CutPrefix(string(text), pageTokenPrefix)
	from, isNumber := strconv.Atoi(number)
	if err != nil || !isOurs || isNumber != nil || from < 0 || from > among {
		refused := badRequest("continue is none of this list")
		return 0, &refused
	}
	return from, nil
}

func (s *Server) pageSize() int {
	if s.opts.pageSize > 0 {
		return s.opts.pageSize
	}
	return PageSize
}

// getKey is GET /v1/apiKeys/{uid}.
func (s *Server) getKey(c *call) answer {
	return s.withKey(c, func(k *key) answer { return ok(http.StatusOK, k.answer()) })
}

// updateKey is PUT /v1/apiKeys/{uid}: another expiry, another name. A key that has expired may get a new expiry
// (assumption).
func (s *Server) updateKey(c *call) answer {
	var request keyUpdateRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	return s.withKey(c, func(k *key) answer {
		if request.Spec.Expiry != nil {
			if !request.Spec.Expiry.After(s.now()) {
				return badRequest("spec.expiry must be in the future")
			}
			k.Expiry = request.Spec.Expiry.UTC()
		}
		if request.Metadata.Name != "" {
			k.Name = request.Metadata.Name
		}
		if request.Metadata.Annotations != nil {
			k.Annotations = request.Metadata.Annotations
		}
		return ok(http.StatusNoContent, nil)
	})
}

// setKeyState is PUT /v1/apiKeys/{uid}/state and PATCH /v1/apiKeys/{uid}: off and on.
func (s *Server) setKeyState(c *call) answer {
	var request keyStateRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	if request.IsActive == nil {
		return badRequest("isActive is required")
	}
	return s.withKey(c, func(k *key) answer {
		k.Active = *request.IsActive
		return ok(http.StatusNoContent, nil)
	})
}

// deleteKey is DELETE /v1/apiKeys/{uid}.
func (s *Server) deleteKey(c *call) answer {
	return s.withKey(c, func(k *key) answer {
		delete(s.state.keys, k.UID)
		return ok(http.StatusNoContent, nil)
	})
}

// withKey does work on the key that the path names, under the lock. A key that the caller may not see is not there.
func (s *Server) withKey(c *call, work func(*key) answer) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	caller, refusal := s.caller(c)
	if refusal != nil {
		return *refusal
	}
	k := s.state.keys[c.PathValue("uid")]
	if k == nil || !mayManage(caller, k) {
		return fail(http.StatusNotFound, "ApiKeyNotFound", "no such API key")
	}
	return work(k)
}

// keysOf counts a user's keys, those that have expired among them.
func (st *state) keysOf(u *user) (n int) {
	for _, k := range st.keys {
		if k.user == u {
			n++
		}
	}
	return n
}

func mayManage(caller *user, k *key) bool {
	return k.user == caller || caller.TenantAdmin && caller.Org == k.user.Org
}

func (k *key) answer() keyAnswer {
	created := k.Created
	return keyAnswer{
		Metadata: keyMeta{Name: k.Name, UID: k.UID, Annotations: k.Annotations, CreationTimestamp: &created},
		Spec:     keySpecAnswer{Expiry: k.Expiry, User: keyUser{UID: k.UserUID}},
		Status:   keyStatus{IsActive: k.Active},
	}
}

// Keys are all API keys that have not been deleted, also expired and inactive ones, in the order of making.
func (s *Server) Keys() []Key { return s.keys(func(*key) bool { return true }) }

// LiveKeys are the API keys that open something now, in the order of making.
func (s *Server) LiveKeys() []Key {
	now := s.now()
	return s.keys(func(k *key) bool { return k.alive(now) })
}

func (s *Server) keys(wanted func(*key) bool) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []Key
	for _, uid := range s.state.keyUIDs {
		if k := s.state.keys[uid]; k != nil && wanted(k) {
			copied := k.Key
			copied.Annotations = maps.Clone(k.Annotations)
			keys = append(keys, copied)
		}
	}
	return slices.Clip(keys)
}

// KeyAlive reports whether the API key (the secret, not the uid) opens something now.
func (s *Server) KeyAlive(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, k := range s.state.keys {
		if k.secret == secret {
			return k.alive(now)
		}
	}
	return false
}
