package repotest

import (
	"net/url"
	"strings"
)

// withDatabase returns a DSN, a URL or in the form of libpq, that names another database.
func withDatabase(dsn, database string) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		if u, err := url.Parse(dsn); err == nil {
			u.Path = "/" + database
			q := u.Query()
			q.Del("dbname")
			u.RawQuery = q.Encode()
			return u.String()
		}
	}
	return dsn + " dbname=" + database // the last one counts
}
