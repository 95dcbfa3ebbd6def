package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
)

// transact runs write in a transaction, and repeats both as [Dialect.repeat] does.
func (p *pool) transact(ctx context.Context, write func(database) error) error {
	return p.repeat(ctx, func() error {
		tx, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: p.dialect.engine.isolation})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		var in database = tx
		if p.dialect.engine.inlines {
			in = inlined{tx}
		}
		if err := write(in); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// inlined is a transaction whose statements have their arguments in their text, so that none
// is prepared. In a Galera cluster, another server may end a transaction between two statements.
// MariaDB reports that to the next command, but not if that command executes or closes a
// prepared statement. The rest of the transaction would then be committed without the beginning.
type inlined struct{ tx *sql.Tx }

func (t inlined) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, inline(query, args))
}

func (t inlined) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, inline(query, args))
}

func (t inlined) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, inline(query, args))
}

// inline puts the arguments of a statement in place of its question marks. Texts are in
// hexadecimal, so that neither the connection's character set nor its SQL mode matters.
func inline(query string, args []any) string {
	parts := strings.Split(query, "?")
	var b strings.Builder
	for i, arg := range args {
		b.WriteString(parts[i])
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			panic(fmt.Sprintf("httpkey: an argument of type %T: %v", arg, err)) // a mistake in this package
		}
		switch value := value.(type) {
		case nil:
			b.WriteString("NULL")
		case []byte:
			fmt.Fprintf(&b, "X'%x'", value)
		case string: // in TiDB, _utf8mb4 X'…' is no text
			fmt.Fprintf(&b, "CONVERT(X'%x' USING utf8mb4)", value)
		default: // a number or a boolean
			fmt.Fprint(&b, value)
		}
	}
	return b.String() + parts[len(args)]
}
