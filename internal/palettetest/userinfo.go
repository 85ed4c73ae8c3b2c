package palettetest

import "net/http"

// userInfoAnswer is the OpenAPI document's v1UserInfo.
type userInfoAnswer struct {
	OrgName   string `json:"orgName"`
	TenantUID string `json:"tenantUid"`
	UserUID   string `json:"userUid"`
}

// userInfo is GET /v1/users/info.
func (s *Server) userInfo(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, refusal := s.caller(c)
	if refusal != nil {
		return *refusal
	}
	return ok(http.StatusOK, userInfoAnswer{OrgName: u.Org, TenantUID: s.state.tenants[u.Org], UserUID: u.UID})
}
