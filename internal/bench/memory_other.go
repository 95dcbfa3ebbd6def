//go:build !unix

package main

func outsideTheHeap(n int) []byte { return make([]byte, n) } // it is on the heap here
