package catest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Operator calls the operator's API: method and path ("/api/v1/..."), in as
// the JSON body unless nil, the answer into out unless nil. It fails the test
// unless the status is 2xx.
func (c *CA) Operator(method, path string, in, out any) {
	c.t.Helper()
	if err := c.operate(method, path, in, out); err != nil {
		c.t.Fatalf("catest: %s %s: %v", method, path, err)
	}
}

func (c *CA) operate(method, path string, in, out any) error {
	token, err := os.ReadFile(filepath.Join(c.Dir, "admin.token"))
	if err != nil {
		return err
	}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.AdminURL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, status, err := c.do(r)
	if err != nil {
		return err
	}
	if status < http.StatusOK || status >= http.StatusMultipleChoices {
		return fmt.Errorf("status %d: %s", status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// ExternalKey makes a single-use key for external account binding and returns
// what an ACME client is given: the key's ID and its secret in base64url
// (RFC 8555 section 7.3.4).
func (c *CA) ExternalKey(label string) (id, secret string) {
	c.t.Helper()
	var key struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	c.Operator(http.MethodPost, "/api/v1/external-keys", map[string]string{"label": label}, &key)
	return key.ID, key.Secret
}
