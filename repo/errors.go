package repo

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"parley/model"
)

// conflicts says which rule a constraint stands for.
var conflicts = map[string]*model.Error{}

// explain returns the domain error behind a database error, or err itself.
// missing is what "no rows" means in this query; nil if it cannot happen.
func explain(err error, missing *model.Error) error {
	if missing != nil && errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	if e := pq.As(err); e != nil {
		if rule, ok := conflicts[e.Constraint]; ok {
			return rule
		}
	}
	return err
}

// IsUnavailable reports whether err means that the database cannot be reached, is
// going away or has no connection left: nothing is wrong with the request, and the
// same may succeed later.
func IsUnavailable(err error) bool { return unavailable(err) }

func unavailable(err error) bool {
	if err == nil {
		return false
	}
	if e := pq.As(err); e != nil {
		switch e.Code {
		case pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow, pqerror.TooManyConnections,
			pqerror.IdleInTransactionSessionTimeout, pqerror.LockNotAvailable: // a lock that does not come in time is the database's trouble
			return true
		}
		return e.Code.Class() == "08" // connection exception
	}
	var network *net.OpError // a context's deadline is none, though it looks like a net.Error
	return errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, errHungUp)
}

// broken reports whether a connection turned out to be dead, at once and not after a silence.
func broken(err error) bool {
	var network *net.OpError
	return errors.Is(err, driver.ErrBadConn) || errors.As(err, &network) && !network.Timeout()
}

// away adds to a connection's failure what clients are told: 503, try again.
func away(err error) error {
	if !unavailable(err) || model.IsCode(err, model.Unavailable) {
		return err
	}
	e := model.NewError(model.Unavailable, "the database cannot be reached just now: try again soon")
	e.RetryAfter = 2
	return fmt.Errorf("%w: %w", e, err)
}

// repeatable reports whether a transaction that failed so may succeed when it is
// run again: it lost against a concurrent one and left no trace.
func repeatable(err error) bool {
	return pq.As(err, pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected) != nil
}

// ended replaces what a statement cut short by its context fails with, a mere
// query_canceled, by the context's own error.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && pq.As(err, pqerror.QueryCanceled) != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
