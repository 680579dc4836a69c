package handlers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/model"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var queue turns
		var mu sync.Mutex
		var order []int
		running := map[string]int{}
		all := 0
		for i := range 40 {
			client := []string{"Tom", "Jerry", "Mary", ""}[i%4]
			go func() {
				leave, err := queue.enter(t.Context(), client)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				running[client]++
				all++
				if client != "" && running[client] > 1 || all > maxQueries {
					t.Errorf("%d of %q run, %d in all", running[client], client, all)
				}
				if client == "Tom" {
					order = append(order, i)
				}
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running[client]--
				all--
				mu.Unlock()
				leave()
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.IsSorted(order) || len(order) != 10 {
			t.Errorf("Tom's turns were %v", order)
		}
		if len(queue.clients) > 0 || len(queue.running) > 0 {
			t.Errorf("left behind: %v, %d", queue.clients, len(queue.running))
		}
	})
}

func TestTurnsGivenUp(t *testing.T) {
	t.Parallel()
	var queue turns
	leave, err := queue.enter(t.Context(), "Tom")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := queue.enter(gone, "Tom"); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone: %v", err)
	}
	for range maxWaiting { // as enter does before it waits
		if _, err := queue.join("Tom"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := queue.enter(t.Context(), "Tom"); !model.IsCode(err, model.RateLimited) {
		t.Errorf("one too many: %v", err)
	}
	if other, err := queue.enter(t.Context(), "Jerry"); err != nil {
		t.Errorf("somebody else: %v", err)
	} else {
		other()
	}
	leave()
}
