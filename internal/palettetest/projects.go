package palettetest

import "net/http"

// ProjectName is the name of the one project that each organization has. A new tenant of Palette has one of that name.
// Source: the documentation of Palette's Terraform provider, data source spectrocloud_project.
const ProjectName = "Default"

// The bodies of the OpenAPI document's v1ProjectsMetadata, v1ProjectMetadata and v1ObjectEntity.
type (
	projectsMetadata struct {
		Items []projectMetadata `json:"items"`
	}
	projectMetadata struct {
		Metadata objectEntity `json:"metadata"`
	}
	objectEntity struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	}
)

// projectsMetadata is GET /v1/dashboard/projects/metadata, the first call of Palette's Terraform provider: it looks its
// project up by name. Source: palette-sdk-go, client/project.go, GetProjectUID. That the query "name" takes a whole
// name is an assumption, as is that each user of a tenant sees the project.
func (s *Server) projectsMetadata(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, refusal := s.caller(c)
	if refusal != nil {
		return *refusal
	}
	found := projectsMetadata{Items: []projectMetadata{}}
	if name := c.URL.Query().Get("name"); name == "" || name == ProjectName {
		found.Items = append(found.Items, projectMetadata{objectEntity{Name: ProjectName, UID: s.state.projects[u.Org]}})
	}
	return ok(http.StatusOK, found)
}

// ProjectUID is the uid of an organization's project; "" where there is no such organization.
func (s *Server) ProjectUID(org string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.projects[org]
}
