package dsn

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// hidden stands in place of a password.
const hidden = "[REDACTED]"

// inURL and inMySQL find the passwords of data source names of any spelling, which people may
// have typed in a wrong place.
var (
	inURL   = regexp.MustCompile(`://[^\s/?#"]*@`)
	inMySQL = regexp.MustCompile(`[^\s:"]*:[^\s"]*@(tcp|unix)\(`)
	inQuery = regexp.MustCompile(`(?i)(password|passwd|pwd)=('[^']*'|[^\s&;"]+)`)
)

// Redact returns a text without the password of a DSN, and without those of other DSNs. The text of
// ErrForm has none, and stays.
func Redact(text, dsn string) string {
	if before, after, found := strings.Cut(text, ErrForm.Error()); found {
		return Redact(before, dsn) + ErrForm.Error() + Redact(after, dsn)
	}
	if len(dsn) >= 8 { // a shorter one has no place for a password
		text = strings.ReplaceAll(text, dsn, hidden)
	}
	for _, password := range passwords(dsn) {
		text = strings.ReplaceAll(text, password, hidden)
	}
	text = inURL.ReplaceAllString(text, "://"+hidden+"@")
	text = inMySQL.ReplaceAllString(text, hidden+"@$1(")
	return inQuery.ReplaceAllString(text, "$1="+hidden)
}

// passwords returns the password of a DSN, in the forms that an error may show.
func passwords(dsn string) (found []string) {
	add := func(password string) {
		for _, form := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
			if form != "" {
				found = append(found, form)
			}
		}
	}
	if rest, isMySQL := strings.CutPrefix(dsn, "mysql:"); isMySQL {
		if config, err := mysql.ParseDSN(rest); err == nil {
			add(config.Passwd)
		}
		return found
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil
	}
	if password, has := u.User.Password(); has {
		add(password)
	}
	for _, name := range []string{"password", "sslpassword"} {
		add(u.Query().Get(name))
	}
	return found
}
