module github.com/httpkey/httpkey

go 1.25.0
