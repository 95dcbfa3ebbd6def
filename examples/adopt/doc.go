// Package adopt has three programs that had keys of their own before they adopted httpkey. Each has its
// program in main.go, with the table as it was, and all that httpkey needs in httpkey.go, in less than sixty lines:
//
//   - hashed: chi, and a SQLite table of SHA-256 hashes in hex, which stays the store;
//   - bearer: chi, and tokens in plain text, which it imports; clients send them as Bearer or by Basic;
//   - keyid: gin, and bcrypt hashes of keys of the form keyID.secret in MySQL, each imported on its first use.
//
// Package table is longer: the table of hashed as a whole store, for a program that wants the page or Guard.Rotate, and
// whose keys must stay in this table.
package adopt
