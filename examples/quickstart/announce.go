package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/httpkey/httpkey"
)

// announcement says how to use the server. In a new store it makes the samples and a key of
// each kind. These two keys stand in the announcement, and can be seen nowhere else.
func announcement(ctx context.Context, guard *httpkey.Guard, addr net.Addr) (string, error) {
	fresh, err := isNew(ctx, guard.Store())
	if err != nil {
		return "", err
	}
	if !fresh {
		return fmt.Sprintf("The keys are those that were printed before. "+
			"For another, with the same HTTPKEY_DSN: %s -issue LABEL\n", os.Args[0]) + lines(addr, "…"), nil
	}
	if err := addSamples(ctx, guard.Store()); err != nil {
		return "", err
	}
	apiKey, err := guard.Issue(ctx, httpkey.Token{Label: "quickstart", User: ada.ID})
	if err != nil {
		return "", err
	}
	serviceToken, err := guard.Issue(ctx, httpkey.Token{
		Label: "quickstart", Kind: httpkey.ServiceToken, Workspace: engine, CreatedBy: ada.ID,
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("HTTPKEY_API_KEY=%s\nHTTPKEY_SERVICE_TOKEN=%s\n",
		apiKey.Secret.Reveal(), serviceToken.Secret.Reveal()) + lines(addr, apiKey.Secret.Reveal()), nil
}

// lines are two ways to try the server: a command and a page.
func lines(addr net.Addr, key string) string {
	return fmt.Sprintf("curl -i -H 'X-Api-Key: %s' http://%s/api/v1/users/me/\nOpen http://%s%s/\n",
		key, addr, addr, tokensPath)
}
