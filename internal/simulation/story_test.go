package simulation

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// story is what happened in a life, a line a step.
type story struct {
	mu    sync.Mutex
	began time.Time
	lines []string
	// over: what comes after the breach is of no interest.
	over bool
}

func (s *story) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// maxStory bounds a story of days, in lines. What is left out is in the middle.
const maxStory = 3000

func (s *story) tell(who, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if len(s.lines) == maxStory {
		s.lines = append(s.lines[:maxStory/3], s.lines[maxStory/3+maxStory/10:]...)
	}
	s.lines = append(s.lines, fmt.Sprintf("%s  %-8s %s", clock(time.Since(s.began)), who, fmt.Sprintf(format, args...)))
}

func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// clock is a time in a life: hours, minutes, seconds, milliseconds.
func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d:%06.3f", int(d.Hours()), int(d.Minutes())%60, d.Seconds()-60*float64(int(d.Minutes())))
}

// invariant is what must hold.
type invariant int

const (
	// invAccounted: no credential is alive at Palette that neither a lease, a session, a pending revocation nor a
	// write-ahead entry accounts for, except one whose answer the simulator itself dropped, until its own expiry.
	invAccounted invariant = iota + 1
	// invSecretWorks: exactly one password or root key works, the engine knows it, and the next read succeeds, unless people
	// changed it at Palette and wrote no new one.
	invSecretWorks
	// invGuarded: an account gets no more rejected logins in any window than the guard allows, counted from the process's
	// start.
	invGuarded
	// invPaced: Palette's limit is kept, counted from the process's start.
	invPaced
	// invRevocable: no lease is irrevocable that Palette would have ended, and none outlives its credential.
	invRevocable
	// invNoLeak: no secret is in any log line, error, event or metric.
	invNoLeak
	// invEnded: the mount's end leaves no goroutine and no connection, and nobody waits for ever.
	invEnded
	// invDeclared: each answer's status is declared in the OpenAPI document.
	invDeclared
	// invOneKey: a role has one shared key at a time beside those that it has replaced, and none that has expired.
	invOneKey
)

var invariants = map[invariant]string{
	invAccounted: "each live credential is accounted for", invSecretWorks: "one secret works, and the engine knows it",
	invGuarded: "the guard bounds rejected logins", invPaced: "Palette's limit is kept", invRevocable: "leases end with their credential",
	invNoLeak: "no secret leaks", invEnded: "nothing is left, and nobody waits for ever", invDeclared: "each answer is declared", invOneKey: "one shared key a role",
}

func (i invariant) String() string { return fmt.Sprintf("%d (%s)", int(i), invariants[i]) }

// breach is an invariant that was broken.
type breach struct {
	invariant invariant
	// kind is the same for all breaches of one sort.
	kind, text string
	at         time.Duration
}

// like tells whether two breaches are of one sort.
func (b *breach) like(other *breach) bool {
	return b != nil && other != nil && b.invariant == other.invariant && b.kind == other.kind
}

func (b *breach) String() string {
	return fmt.Sprintf("invariant %s, at %s: %s", b.invariant, clock(b.at), b.text)
}
