package palette

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-palette/internal/upstream"
)

// Names of fields, shared by the paths and their tests.
const (
	fieldName = "name"

	fieldAddress          = "address"
	fieldEmail            = "email"
	fieldPassword         = "password"
	fieldOrg              = "org"
	fieldCACert           = "ca_cert"
	fieldClientCert       = "client_cert"
	fieldClientKey        = "client_key"
	fieldTLSServerName    = "tls_server_name"
	fieldTLSSkipVerify    = "tls_skip_verify"
	fieldProxyURL         = "proxy_url"
	fieldRequestTimeout   = "request_timeout"
	fieldVerifyConnection = "verify_connection"
	fieldRateLimit        = "rate_limit"
	fieldRateBurst        = "rate_burst"
	fieldQueueTimeout     = "queue_timeout"
	fieldKeyLimit         = "key_limit"
	fieldAPIKey           = "api_key"
	fieldAPIKeyUID        = "api_key_uid"
	fieldPasswordPolicy   = "password_policy"
	fieldRotationPeriod   = "rotation_period"

	fieldConfigName = "config_name"
	fieldTTL        = "ttl"
	fieldMaxTTL     = "max_ttl"
	fieldRenewable  = "renewable"
	fieldProjectUID = "project_uid"
	fieldShared     = "shared"

	fieldCredentialType = "credential_type"
	fieldUserUID        = "user_uid"
	fieldNameTemplate   = "name_template"
	fieldDescription    = "description"
	fieldAPIKeyName     = "api_key_name"

	fieldToken     = "token"
	fieldTokenID   = "token_id"
	fieldExpiresAt = "expires_at"
)

// longestDuration bounds the fields that are durations. A longer one is a mistake, and a multiple
// of it, such as twice a rotation_period, must not overflow.
const longestDuration = 10 * 365 * 24 * time.Hour

// seconds reads a field that is a duration, and tells whether the field was given. seconds reads the
// raw value once more, since the framework makes 0, which means "no limit", of "500ms". Errors are
// Mistakes.
func seconds(d *framework.FieldData, field string) (value time.Duration, given bool, err error) {
	raw, given := d.Raw[field]
	if !given {
		return 0, false, nil
	}
	value, err = parseutil.ParseDurationSecond(raw)
	if err != nil || value < 0 || value%time.Second != 0 {
		return 0, true, upstream.Mistakef("field %q is %q, but must be a duration of whole seconds, zero or more", field, fmt.Sprint(raw))
	}
	if value > longestDuration {
		return 0, true, upstream.Mistakef("field %q is %s, but must be at most %s (10 years)", field, value, longestDuration)
	}
	return value, true, nil
}
