#!/bin/sh
# Lets the applications of a Kubernetes cluster log in to Vault, and read what the manifests
# beside this file name. Run ../setup.sh first: it makes the engine's roles. Each command can be
# run again.
#
#   VAULT_ADDR, VAULT_TOKEN   Vault, with a token that may enable auth methods and write policies and
#                             the engine's roles
#   KUBERNETES_HOST           the API server as Vault reaches it (https://kubernetes.default.svc:443)
#   KUBERNETES_CA_CERT        file with the authority of the API server's certificate
#   TOKEN_REVIEWER_JWT        token of a service account that may review tokens
#
# The last two are for a Vault outside of the cluster. In a pod of the cluster Vault has both: its
# service account is bound to the cluster role system:auth-delegator, which the chart sees to.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

if ! vault read sys/mounts/auth/kubernetes >/dev/null 2>&1; then
	vault auth enable kubernetes
fi
set -- "kubernetes_host=${KUBERNETES_HOST:-https://kubernetes.default.svc:443}"
[ -z "${KUBERNETES_CA_CERT:-}" ] || set -- "$@" "kubernetes_ca_cert=@$KUBERNETES_CA_CERT"
if [ -n "${TOKEN_REVIEWER_JWT:-}" ]; then
	# From standard input, so that no command line holds it.
	printf '%s' "$TOKEN_REVIEWER_JWT" | vault write auth/kubernetes/config "$@" token_reviewer_jwt=-
else
	vault write auth/kubernetes/config "$@"
fi

# For External Secrets, which reads anew and never revokes: one key for all of its reads.
vault write palette/roles/app-fleet-key credential_type=api_key shared=true renewable=false ttl=1h max_ttl=24h description="Made by Vault"

vault policy write palette-secrets-operator "$here/../policies/secrets-operator.hcl"
vault policy write palette-external-secrets "$here/../policies/external-secrets.hcl"
vault policy write palette-fleet "$here/../policies/fleet.hcl"

# One role for each way into the cluster. A lease ends with the Vault token that it was read
# with, so a Vault token has to outlive the longest lease:
# - token_period: the operator and the Agent renew their Vault token, for as long as they run;
# - token_ttl: External Secrets logs in at each refresh and renews nothing.
set -- bound_service_account_names=palette-app bound_service_account_namespaces=palette-app
vault write auth/kubernetes/role/palette-operator "$@" audience=vault token_policies=palette-secrets-operator token_period=2h
vault write auth/kubernetes/role/palette-external-secrets "$@" audience=vault token_policies=palette-external-secrets token_ttl=2h
# The injector's pods present their own token, whose audience is the API server's.
vault write auth/kubernetes/role/palette-agent "$@" token_policies=palette-fleet token_period=2h
