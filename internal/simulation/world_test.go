package simulation

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/time/rate"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// world is one life of a mount.
type world struct {
	plan    *plan
	story   *story
	disk    *disk
	palette *palettetest.Server
	network *network
	vault   *vault
	log     *record
	traps   traps
	system  logical.StaticSystemView

	replication consts.ReplicationState
	tainted     atomic.Bool
	sealed      atomic.Bool
	// over: the life has ended.
	over atomic.Bool
	// storageTrouble counts the faults of the storage, deaths the nodes that have ended.
	storageTrouble, deaths atomic.Int64
	inFlight               atomic.Int64
	beating                atomic.Bool

	// starting is held by whoever starts a node.
	starting chan struct{}
	node     *node
	nodes    int

	mu          sync.Mutex
	breach      *breach
	credentials []*credential
	secrets     []string
	quiet       time.Time
	// changed are the accounts whose secret people have changed at Palette, or spoilt in the config, and not mended.
	changed  map[string]bool
	spoiling map[string]int
	// lostUpdates are the API keys of whose updates one was lost or came late.
	lostUpdates map[string]bool
	// endedSessions are those that people have ended at Palette.
	endedSessions map[string]bool
	worked        map[string]time.Time
	rejections    map[string][]time.Time
	buckets       map[string]*rate.Limiter
	// takenAway is when people last took a config or its key away.
	takenAway time.Time
	// cutAt is when a node's connections were last cut.
	cutAt map[int]time.Time
	// resends are the calls that net/http may have sent once more, by what Palette counts them in.
	resends  map[string]int
	handMade int
}

// orgName is the one organization at Palette.
const orgName = "example"

// accountsOf are the users at Palette, a config's each; in some lives one is a system administrator (systemLife).
var accountsOf = map[string]string{"default": "vault@example.com", "ci": "ci@example.com", "keys": "keys@example.com"}

func newWorld(p *plan) *world {
	w := &world{
		plan: p, story: &story{began: time.Now()}, disk: newDisk(), log: &record{}, starting: make(chan struct{}, 1), quiet: time.Now(),
		changed: make(map[string]bool), spoiling: make(map[string]int), cutAt: make(map[int]time.Time), resends: make(map[string]int), endedSessions: make(map[string]bool), lostUpdates: make(map[string]bool), worked: make(map[string]time.Time), rejections: make(map[string][]time.Time), buckets: make(map[string]*rate.Limiter),
		system: logical.StaticSystemView{DefaultLeaseTTLVal: p.maxTTL, MaxLeaseTTLVal: p.maxTTL},
	}
	if os.Getenv("LOG") != "" {
		w.log.story = w.story
	}
	var err error
	if w.palette, err = palettetest.Start(p.paletteOptions()...); err != nil {
		panic(err)
	}
	w.palette.SetBurst(p.burst)
	w.palette.SetClock(p.clock)
	w.palette.SetLag(palettetest.Lag{For: p.lag, OldPassword: p.lagOldPassword})
	w.secrets = append(w.secrets, w.palette.Passwords()...)
	w.vault = newVault(w)
	w.network = newNetwork(w)
	w.node = w.startNode()
	go w.beat()
	return w
}

// broken notes the first invariant that was broken, and ends the life.
func (w *world) broken(i invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.breach != nil || w.over.Load() && i != invEnded {
		return
	}
	w.breach = &breach{i, format, fmt.Sprintf(format, args...), time.Since(w.story.began)}
	w.story.tell("BROKEN", "invariant %s: %s", i, w.breach.text)
	w.story.stop()
}

func (w *world) isBroken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.breach != nil
}

// trouble notes that something goes wrong now, by the simulator's doing.
func (w *world) trouble() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = time.Now()
}

func (w *world) quietSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.quiet
}

func (w *world) keepSecret(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, s)
}

// spawn runs work beside the steps.
func (w *world) spawn(work func()) {
	w.inFlight.Add(1)
	go func() {
		defer w.inFlight.Add(-1)
		work()
	}()
}

// current is the node that serves, a new one where the last has crashed.
func (w *world) current() (*node, error) {
	w.starting <- struct{}{}
	defer func() { <-w.starting }()
	if w.sealed.Load() {
		return nil, errSealed
	}
	if w.node.dead.Load() {
		w.deaths.Add(1)
		w.trouble()
		w.node = w.startNode()
	}
	return w.node, nil
}

// longest bounds how long a request may take.
const longest = 15 * time.Minute

// handle sends a request to the node as Vault does, and checks its answer.
func (w *world) handle(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	n, err := w.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	req.Storage = n.storage
	req.DisplayName, req.ID = "token-people", "request"
	waits := time.AfterFunc(longest, func() {
		w.broken(invEnded, "%s %s waits for ever", req.Operation, req.Path)
		cancel()
	})
	defer waits.Stop()
	defer func() {
		if p := recover(); p != nil {
			w.broken(invDeclared, "%s %s panics: %v\n%s", req.Operation, req.Path, p, debug.Stack())
			resp, err = nil, fmt.Errorf("panic")
		}
	}()
	if req.Operation == logical.UpdateOperation {
		if found, exists, checkErr := n.b.HandleExistenceCheck(ctx, req); checkErr == nil && found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err = n.b.HandleRequest(ctx, req)
	if n.dead.Load() {
		return nil, errCrashed
	}
	w.checkAnswer(ctx, req, resp, err)
	return resp, err
}

// beat is Vault's minute.
func (w *world) beat() {
	for !w.over.Load() && !w.isBroken() {
		time.Sleep(time.Minute)
		w.checkAccounts()
		if w.over.Load() || w.sealed.Load() || w.beating.Swap(true) {
			continue
		}
		w.spawn(func() {
			defer w.beating.Store(false)
			if _, err := w.handle(context.Background(), logical.RollbackRequest("")); err != nil {
				w.story.tell("vault", "periodic: %s", err)
			}
		})
	}
}

// live runs the steps of the plan.
func (w *world) run(steps []step) {
	for _, s := range steps {
		if w.isBroken() {
			break
		}
		time.Sleep(s.gap)
		if w.inFlight.Load() > maxInFlight {
			w.idle()
		}
		work := func() {
			if outcome := s.do(w); outcome != "" {
				w.story.tell(s.who, "%s: %s", s.what, outcome)
			}
		}
		if s.wait {
			work()
		} else {
			w.story.tell(s.who, "%s", s.what)
			w.spawn(work)
		}
		w.check()
	}
}

// maxInFlight bounds the calls under way at a time.
const maxInFlight = 60

// check looks at what must hold at each step.
func (w *world) check() {
	w.checkAccounts()
	w.passwordChecked("a step")
	w.checkTexts()
}

// idle waits until no call is under way.
func (w *world) idle() {
	for range 1000 {
		if w.inFlight.Load() == 0 {
			return
		}
		time.Sleep(time.Second)
	}
	w.broken(invEnded, "%d calls do not end", w.inFlight.Load())
}

// paletteLimit is how many calls of a resource Palette takes each second.
const paletteLimit = palettetest.PublishedRate

// sent notes a call that a node has sent. Palette has a bucket for each resource, and a new process's is full.
func (w *world) sent(q *request) {
	key := q.bucket()
	w.mu.Lock()
	bucket := w.buckets[key]
	if bucket == nil {
		bucket = rate.NewLimiter(paletteLimit, w.plan.burst)
		w.buckets[key] = bucket
	}
	over := !bucket.Allow()
	if over && w.resends[key] > 0 {
		w.resends[key]--
		over = false
	}
	w.mu.Unlock()
	if over {
		w.broken(invPaced, "a node has sent more calls than Palette's bucket holds: %s", key)
	}
}

// bucket names what Palette counts a call in.
func (q *request) bucket() string {
	return fmt.Sprintf("node %d, %s%s", q.node.id, q.Host, palettetest.Resource(q.endpoint))
}

// resent notes that a call has got no answer: net/http sends a GET once more by itself then, which the engine's limit
// does not see.
func (w *world) resent(q *request) {
	if q.Method != http.MethodGet {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resends[q.bucket()]++
}

// wasCut notes that a node's connections are cut off: answers of this moment are lost on them.
func (w *world) wasCut(n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.cutAt[n.id] = now
	for _, c := range w.credentials {
		if c.node == n.id && c.answered.Equal(now) && c.excused == "" { // whether the answer was read by then is open
			c.excused = "its connection was cut with the answer on it"
		}
	}
}

// accepted notes a login that worked: with it Palette forgets those that failed, and so does the guard.
func (w *world) accepted(n *node, email string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(n.id, " ", email)
	w.worked[key] = time.Now()
	delete(w.rejections, key)
}

// rejected notes a login that Palette refused: so many suspend the account.
func (w *world) rejected(n *node, email string) {
	const most = 4
	now := time.Now()
	key := fmt.Sprint(n.id, " ", email)
	w.mu.Lock()
	if w.worked[key].Equal(now) { // which of the two the guard learnt of first is open
		w.mu.Unlock()
		return
	}
	recent := slices.DeleteFunc(w.rejections[key], func(at time.Time) bool { return now.Sub(at) >= palettetest.LockoutTime })
	recent = append(recent, now)
	w.rejections[key] = recent
	w.mu.Unlock()
	if len(recent) > most {
		w.broken(invGuarded, "node %d has had %d logins of %s rejected within %s", n.id, len(recent), email, palettetest.LockoutTime)
	}
}

// excuse makes what a lease holds nobody's concern.
func (w *world) excuse(l *lease, why string) {
	w.vault.mu.Lock()
	text := l.internal
	w.vault.mu.Unlock()
	w.excuseIn(text, why)
}

func (w *world) excuseIn(text, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.credentials {
		if c.excused == "" && strings.Contains(text, c.id) {
			c.excused = why
		}
	}
}

func (w *world) lostUpdate(uid string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lostUpdates[uid] = true
}

func (w *world) updateLost(uid string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lostUpdates[uid]
}

// httpMethods are the operations' in the OpenAPI document.
var httpMethods = map[logical.Operation]string{
	logical.ReadOperation: http.MethodGet, logical.ListOperation: http.MethodGet, logical.CreateOperation: http.MethodPost,
	logical.UpdateOperation: http.MethodPost, logical.DeleteOperation: http.MethodDelete,
}
