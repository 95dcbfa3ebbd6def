// Package browser tests the pages of package console in a headless Chromium, as people see
// and use them. A test that misses Chromium or axe-core is skipped, and says how to get it.
// If REQUIRE_TOOLS is set, it fails.
//
//	make browser   (which installs axe-core by npm first)
//
// If SCREENSHOTS names a directory, TestStates leaves pictures of every state of the pages there.
package browser
