package kubernetes

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	examplesDir = "../../examples/kubernetes"
	namespace   = "palette-app"
)

// object is one of Kubernetes', as in its manifest.
type object map[string]any

// String names the object, as kubectl does.
func (o object) String() string { return o.text("kind") + "/" + o.text("metadata", "name") }

// text is a field's text, "" where there is no such field.
func (o object) text(path ...string) string {
	text, _ := o.at(path...).(string)
	return text
}

// at is a field's value, nil where there is no such field.
func (o object) at(path ...string) any {
	var value any = map[string]any(o)
	for _, name := range path {
		fields, isObject := value.(map[string]any)
		if !isObject {
			return nil
		}
		value = fields[name]
	}
	return value
}

// condition is one of an object's status.
type condition struct{ Status, Reason, Message string }

// condition is the one of that type, empty where there is none.
func (o object) condition(name string) condition {
	list, _ := o.at("status", "conditions").([]any)
	for _, item := range list {
		c := object(item.(map[string]any))
		if c.text("type") == name {
			return condition{c.text("status"), c.text("reason"), c.text("message")}
		}
	}
	return condition{}
}

// secretNamed is a secret to be looked for.
func secretNamed(name string) object {
	return object{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": namespace}}
}

// datum is a value in a secret.
func (o object) datum(t *testing.T, key string) string {
	t.Helper()
	value, err := base64.StdEncoding.DecodeString(o.text("data", key))
	require.NoError(t, err)
	return string(value)
}

// manifests reads the objects of files, or of folders: what their kustomization names, as kubectl apply -k does, or
// else their YAML files.
func manifests(t *testing.T, paths ...string) []object {
	t.Helper()
	var objects []object
	for _, path := range paths {
		for _, file := range files(t, path) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			objects = append(objects, parse(t, content)...)
		}
	}
	return objects
}

// files are a folder's, in their order; a file is its own.
func files(t *testing.T, path string) []string {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	if !info.IsDir() {
		return []string{path}
	}
	found, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, found, path)
	kustomization := filepath.Join(path, "kustomization.yaml")
	content, err := os.ReadFile(kustomization)
	if os.IsNotExist(err) {
		return found
	}
	require.NoError(t, err)
	var list struct {
		Resources []string `yaml:"resources"`
	}
	require.NoError(t, yaml.Unmarshal(content, &list))
	for i, name := range list.Resources {
		list.Resources[i] = filepath.Join(path, name)
	}
	require.ElementsMatch(t, found, append(list.Resources, kustomization), "each file of the folder is named")
	return list.Resources
}

// parse reads the objects of a YAML stream.
func parse(t *testing.T, content []byte) []object {
	t.Helper()
	var objects []object
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var fields map[string]any
		err := decoder.Decode(&fields)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		o := object(fields)
		if len(o) > 0 { // a document may be empty
			objects = append(objects, o)
		}
	}
}

// ofExamples reads files of examples/kubernetes.
func ofExamples(t *testing.T, files ...string) []object {
	t.Helper()
	for i, file := range files {
		files[i] = filepath.Join(examplesDir, file)
	}
	return manifests(t, files...)
}

// find is the one object of a kind and a name.
func find(t *testing.T, objects []object, kind, name string) object {
	t.Helper()
	at := slices.IndexFunc(objects, func(o object) bool { return o.String() == kind+"/"+name })
	require.NotEqual(t, -1, at, kind+"/"+name)
	return objects[at]
}

// crds are the CRDs of a file or of a folder, and nothing else that a release has there.
func crds(t *testing.T, path string) []object {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	require.NoError(t, err)
	if len(found) == 0 {
		found = []string{path}
	}
	return slices.DeleteFunc(manifests(t, found...), func(o object) bool { return !strings.HasPrefix(o.String(), "CustomResourceDefinition/") })
}
