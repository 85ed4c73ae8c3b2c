// Package kubernetes tests examples/kubernetes against a real API server: the operators that people
// run apply the manifests as they lie there, and what they put into secrets is tried at the
// stand-in. `make kubernetes` runs the tests and names their programs:
//
//	KUBERNETES_BIN   folder with kube-apiserver, etcd and vault-plugin-auth-kubernetes
//	VSO_BIN          program of the Vault Secrets Operator, VSO_CRDS its CRDs: a file or a folder
//	ESO_BIN          program of External Secrets, ESO_CRDS its CRDs: a file or a folder
//	INJECTOR_BIN     program of the Agent injector (vault-k8s)
//	VAULT_CHART      HashiCorp's chart for Vault, a folder; HELM the program that renders it
//
// A test whose programs are missing skips, and says where to get them.
package kubernetes
