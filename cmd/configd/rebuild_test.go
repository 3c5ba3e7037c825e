package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// While the read tables are made anew, twice, writes go on, and no reader sees
// state go back, now or in the past.
func TestRebuildUnderLoad(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	api := contract.New(s.url)
	const writers = 4
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	wrote := make([]int, writers)
	for w := range writers {
		c := newClient(t, s.url)
		ns := c.Namespace("load")
		name := fmt.Sprint("w", w)
		working.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				done, err := ns.Set(t.Context(), name, n)
				if err != nil {
					t.Error(err)
					return
				}
				wrote[w] = n
				for _, at := range [][]client.ReadOption{nil, {client.AtPosition(done.Position)}} { // memory, tables
					if got, err := ns.Get(t.Context(), name, at...); err != nil || string(got.Value) != strconv.Itoa(n) {
						t.Errorf("%s is %s, %v after %d was written", name, got.Value, err, n)
						return
					}
				}
			}
		})
	}
	for generation := range 2 {
		api.Do(t, "POST", "/v2/projections/current/rebuild", "")
		testkit.Eventually(t, func() error {
			if got := api.Do(t, "GET", "/v2/projections/current/rebuild", ""); !strings.Contains(got.Body, `"state":"done"`) {
				return errors.New(got.Body)
			}
			return nil
		})
		testkit.Eventually(t, func() error {
			if got := api.Do(t, "GET", "/v2/projections", ""); !strings.Contains(got.Body, fmt.Sprintf(`"generation":%d,`, generation+2)) {
				return errors.New(got.Body)
			}
			return nil
		})
	}
	stop()
	working.Wait()
	c := newClient(t, s.url)
	for w, n := range wrote {
		if got, err := c.Namespace("load").Get(t.Context(), fmt.Sprint("w", w), client.Strong()); err != nil || string(got.Value) != strconv.Itoa(n) {
			t.Errorf("writer %d: %s, %v, want %d", w, got.Value, err, n)
		}
	}
	t.Logf("wrote %v", wrote)
}
