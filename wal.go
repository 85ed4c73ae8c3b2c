package palette

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// errWAL is for a write-ahead entry that is not what the engine writes. To read it again is
// useless, in contrast to a storage that fails.
var errWAL = errors.New("a write-ahead entry cannot be decoded")

func decodeWAL(data, into any) error {
	text, err := json.Marshal(data)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return errWAL
	}
	return nil
}

// loadWAL returns a write-ahead entry, nil for none, and the config that it is about. It is
// framework.GetWAL, whose error does not tell a bad entry, which is errWAL here, from a bad
// storage.
func loadWAL(ctx context.Context, s logical.Storage, id string) (entry *framework.WALEntry, configName string, err error) {
	raw, err := s.Get(ctx, framework.WALPrefix+id)
	if err != nil {
		return nil, "", fmt.Errorf("reading a write-ahead entry: %w", err)
	}
	if raw == nil {
		return nil, "", nil
	}
	entry = &framework.WALEntry{}
	if jsonutil.DecodeJSON(raw.Value, entry) != nil {
		return nil, "", errWAL
	}
	var of struct {
		ConfigName string `json:"config_name"`
	}
	if err := decodeWAL(entry.Data, &of); err != nil {
		return nil, "", err
	}
	return entry, of.ConfigName, nil
}

// leftBehind are the write-ahead entries of an earlier process, by what they are about.
type leftBehind struct {
	rotations        map[string][]string // by config
	keys, unreadable []string
}

// readWALs sorts write-ahead entries. One that cannot be decoded does not keep the others
// from being taken up: no config could be used otherwise.
func readWALs(ctx context.Context, s logical.Storage, ids []string) (leftBehind, error) {
	left := leftBehind{rotations: make(map[string][]string)}
	written := make(map[string]int64)
	for _, id := range ids {
		entry, name, err := loadWAL(ctx, s, id)
		switch {
		case errors.Is(err, errWAL):
			left.unreadable = append(left.unreadable, id)
		case err != nil:
			return leftBehind{}, err
		case entry == nil:
		case entry.Kind == walKey:
			left.keys = append(left.keys, id)
		case entry.Kind == walPassword || entry.Kind == walRootKey:
			left.rotations[name] = append(left.rotations[name], id)
			written[id] = entry.CreatedAt
		}
	}
	for _, rotations := range left.rotations { // the oldest first, as a process notes its own
		slices.SortStableFunc(rotations, func(x, y string) int { return cmp.Compare(written[x], written[y]) })
	}
	return left, nil
}

// takeUp notes what is to be settled. The caller holds the rotations' mu.
func (b *backend) takeUp(left leftBehind) {
	for name, ids := range left.rotations {
		st := b.rotations.of(name)
		st.leftovers = append(st.leftovers, ids...)
	}
	b.lostKeys.add(left.keys...)
	b.rotations.unreadable = left.unreadable
}

// unreadableWALs is an error that names the write-ahead entries that cannot be decoded. One
// that somebody has mended is taken up. It runs each minute.
func (b *backend) unreadableWALs(ctx context.Context, s logical.Storage) error {
	k := &b.rotations
	k.mu.Lock()
	ids := k.unreadable
	k.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	left, err := readWALs(ctx, s, ids)
	if err != nil {
		return err
	}
	k.mu.Lock()
	b.takeUp(left)
	k.mu.Unlock()
	var errs []error
	for _, id := range left.unreadable {
		errs = append(errs, fmt.Errorf("the write-ahead entry %s%s cannot be decoded", framework.WALPrefix, id))
	}
	return errors.Join(errs...)
}
