package palettetest

import "net/http"

type alertComponents struct {
	Components []alertComponent `json:"components"`
}

type alertComponent struct {
	Name              string   `json:"name"`
	Description       string   `json:"description"`
	SupportedChannels []string `json:"supportedChannels"`
}

// alerts is GET /v1/projects/alerts, the call that Palette's page "Authorization Token" makes with a token. Source of the
// answer's form: palette-sdk-go, api/models, V1ProjectAlertComponents. The channels are an assumption. A ProjectUid
// header may name any project.
func (s *Server) alerts(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refusal := s.caller(c); refusal != nil {
		return *refusal
	}
	return ok(http.StatusOK, alertComponents{Components: []alertComponent{{
		Name:              "ClusterHealth",
		Description:       "Cluster health alerts",
		SupportedChannels: []string{"email", "app", "http"},
	}}})
}
