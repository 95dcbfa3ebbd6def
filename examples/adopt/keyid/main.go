// Command keyid is a program that had keys of the form keyID.secret, of which it kept bcrypt hashes. httpkey
// adopts each on its first use.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

func main() {
	ctx := context.Background()
	db, err := sql.Open("mysql", os.Getenv("MYSQL_DSN")) // such as root@tcp(127.0.0.1:3306)/shop
	if err != nil {
		log.Fatal(err)
	}
	if err := migrate(ctx, db, sqlstore.MySQL); err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR"), ContextTimeoutEnabled: true, MaxRetries: -1})
	guard := newGuard(db, sqlstore.MySQL, rdb)
	created, err := guard.Issue(ctx, httpkey.Token{User: "1", Label: "laptop"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -i -H 'X-Api-Key: %s' http://127.0.0.1:8080/orders\n", created.Secret.Reveal())
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", routes(db, guard)))
}

// schema is that from before httpkey.
const schema = `CREATE TABLE IF NOT EXISTS api_keys (
	key_id      VARCHAR(32) PRIMARY KEY,
	secret_hash VARCHAR(72) NOT NULL,
	user_id     BIGINT NOT NULL,
	name        VARCHAR(100) NOT NULL,
	revoked_at  DATETIME NULL
)`

func migrate(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) error {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return err
	}
	return sqlstore.Migrate(ctx, db, dialect)
}

// decoy is the bcrypt hash of a secret that nobody has, of the same cost as those in the table.
var decoy = "$2a$10$BcU.xTbIdnOyFrvNfxeuL.McJ3A7Gh74n9GKfmaBa4C4CfuDK65GG"

// revokeOld revokes a key in the table.
func revokeOld(ctx context.Context, db *sql.DB, id string) error {
	result, err := db.ExecContext(ctx, "UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL",
		time.Now().UTC(), id)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return httpkey.ErrNotFound
	}
	return err
}

func routes(db *sql.DB, guard *httpkey.Guard) http.Handler {
	router := gin.New()
	api := router.Group("/", requireKey(guard))
	api.GET("/orders", func(c *gin.Context) {
		token, _ := httpkey.FromContext(c.Request.Context())
		c.String(http.StatusOK, "user %s, key %s", token.User, token.Label)
	})
	admin := router.Group("/admin/keys/:id") // behind the login of the program
	admin.DELETE("", func(c *gin.Context) {
		answer(c, nil, revoke(c.Request.Context(), db, guard, c.Param("id"), "by an administrator"))
	})
	admin.POST("/rotate", func(c *gin.Context) {
		created, err := guard.Rotate(c.Request.Context(), c.Param("id"), time.Hour)
		answer(c, created, err)
	})
	return router
}

func answer(c *gin.Context, body any, err error) {
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		c.String(http.StatusNotFound, "There is no such key, or it was not used since the upgrade.")
	case errors.Is(err, httpkey.ErrInactive):
		c.String(http.StatusConflict, "The key has ended.")
	case err != nil:
		c.String(http.StatusInternalServerError, "Try again later.")
	case body == nil:
		c.Status(http.StatusNoContent)
	default:
		c.JSON(http.StatusOK, body)
	}
}
