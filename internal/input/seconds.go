package input

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"
)

// longestDuration bounds the fields that are durations. A longer one is a mistake, and a multiple
// of it, such as twice a rotation_period, must not overflow.
const longestDuration = 10 * 365 * 24 * time.Hour

// Seconds reads a field that is a duration, and tells whether the field was given. Seconds reads the
// raw value once more, since the framework makes 0, which means "no limit", of "500ms". The error is
// the user's mistake, and names field, value and limit.
func Seconds(d *framework.FieldData, field string) (value time.Duration, given bool, err error) {
	raw, given := d.Raw[field]
	if !given {
		return 0, false, nil
	}
	value, err = parseutil.ParseDurationSecond(raw)
	if err != nil || value < 0 || value%time.Second != 0 {
		return 0, true, fmt.Errorf("field %q is %q, but must be a duration of whole seconds, zero or more", field, fmt.Sprint(raw))
	}
	if value > longestDuration {
		return 0, true, fmt.Errorf("field %q is %s, but must be at most %s (10 years)", field, value, longestDuration)
	}
	return value, true, nil
}
