package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAFailureIsToldFirst runs on what tests have said: see testdata.
func TestAFailureIsToldFirst(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		file string
		want []string // the first report
		end  string
	}{
		{
			"assertion.json",
			[]string{
				"FAIL: TestRenew/the_mount's, after 0.0 s",
				"  expected  a renewal needs no password",
				"  found     Not equal: expected: 2; actual : 3",
				"  at        fixture_test.go:10, from a_test.go:26",
				"  by hand   make e2e RUN='TestRenew/the_mount.s'",
				"            or on the server of make dev, with its mount and Palette; what the test asked last:",
				"            vault write renew/config email=a@example.com password=…",
				"            vault read renew/creds/app",
				"            vault write sys/leases/renew lease_id=renew/creds/app/1",
				"  log       /tmp/vault-e2e-logs-1/TestRenew/vault.log",
			},
			"FAILED: TestRenew\n1 tests with 0 subtests passed, 1 failed, 1 skipped, in 3 s\n",
		},
		{
			"panic.json",
			[]string{
				"FAIL: TestBroken, after 0.0 s",
				"  expected  no panic, but: runtime error: index out of range [1] with length 1 [recovered, repanicked]",
				"  at        a_test.go:8",
				"  by hand   make e2e RUN='TestBroken'",
				"  log       the test has no server, or its log is below",
			},
			"FAILED: TestBroken\n0 tests with 0 subtests passed, 1 failed, 0 skipped, in 3 s\n",
		},
		{
			"fatal.json",
			[]string{
				"FAIL: TestStart, after 0.0 s",
				"  expected  starting Vault: the server has ended; the end of its log:",
				"  at        a_test.go:7",
				"  by hand   make e2e RUN='TestStart'",
				"  log       the test has no server, or its log is below",
			},
			"FAILED: TestStart\n0 tests with 0 subtests passed, 1 failed, 0 skipped, in 3 s\n",
		},
	} {
		t.Run(row.file, func(t *testing.T) {
			t.Parallel()
			file, err := os.Open("testdata/" + row.file)
			require.NoError(t, err)
			defer file.Close()
			var out strings.Builder
			r := newResults(&out, false)
			require.NoError(t, r.readAll(file))
			r.sum(3 * time.Second)
			_, report, found := strings.Cut(out.String(), "\nFAIL: ")
			require.True(t, found, out.String())
			report, all, found := strings.Cut("FAIL: "+report, "\n\nall that it said:\n")
			require.True(t, found, out.String())
			assert.Equal(t, row.want, strings.Split(report, "\n"))
			assert.LessOrEqual(t, len(row.want), mostLines)
			assert.True(t, strings.HasSuffix(all, row.end), all)
		})
	}
}

func TestSkipsHaveTheirReason(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newResults(&out, false)
	file, err := os.Open("testdata/assertion.json")
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, r.readAll(file))
	assert.Contains(t, out.String(), "skipped: TestALongOutage: a_test.go:30: OUTAGE is not set\n")
	assert.NotContains(t, out.String(), "TestRead", "of a test that passes nothing is said")
	assert.Contains(t, out.String(), "on Vault v1.21.2\n")
}
