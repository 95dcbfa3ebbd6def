// Package docs has the code of the pages in docs, so that it is compiled and tested. Each page has a file.
package docs
