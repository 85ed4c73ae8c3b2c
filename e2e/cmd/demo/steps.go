package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"vault-plugin-secrets-palette/e2e/playground"
	"vault-plugin-secrets-palette/e2e/vaulttest"
)

const (
	mountPath = playground.MountPath
	// callTimeout bounds one call to Palette.
	callTimeout = 30 * time.Second
	// deathPatience is how long a revoked token may still be taken: a real Palette may have
	// more servers than one.
	deathPatience = 10 * time.Second
)

// demo is what the steps share.
type demo struct {
	screen
	vault   *vaulttest.Server
	mounted bool
	palette *playground.Palette

	lease         string
	first, second string
}

// findPalette starts the stand-in, unless a real Palette is named.
func (d *demo) findPalette(context.Context) error {
	which, err := d.palette.Start()
	if err == nil {
		d.say("%s", which)
	}
	return err
}

// mount registers and mounts the plugin.
func (d *demo) mount(ctx context.Context) error {
	sum, err := d.vault.PluginSHA256()
	if err != nil {
		return err
	}
	if _, err = d.cli(ctx, "plugin", "register", "-sha256="+sum, "secret", vaulttest.PluginName); err != nil {
		return err
	}
	_, err = d.cli(ctx, "secrets", "enable", "-path="+mountPath, vaulttest.PluginName)
	d.mounted = err == nil
	return err
}

// configure writes config and role. The password goes through standard input.
func (d *demo) configure(ctx context.Context) error {
	args := []string{"write", mountPath + "/config", "address=" + d.palette.Address, "email=" + d.palette.Login.Email, "org=" + d.palette.Login.Org, "password=-"}
	d.command(`printf %s "$PALETTE_PASSWORD" | vault ` + quoted(args))
	if _, err := d.result(d.vault.CLI(ctx, d.palette.Login.Password, args...)); err != nil {
		return err
	}
	if _, err := d.cli(ctx, "read", mountPath+"/config"); err != nil {
		return err
	}
	_, err := d.cli(ctx, "write", mountPath+"/roles/app", "renewable=true", "max_ttl=24h")
	return err
}

func (d *demo) read(ctx context.Context) error {
	out, err := d.cli(ctx, "read", mountPath+"/creds/app")
	if err != nil {
		return err
	}
	d.lease, d.first = row(out, "lease_id"), row(out, "token")
	if d.lease == "" || d.first == "" {
		return errors.New("the answer holds no lease or no token")
	}
	d.say("FIRST is this token from here on")
	return nil
}

func (d *demo) useFirst(ctx context.Context) error {
	if err := d.curl(ctx, "FIRST", d.first, "/v1/users/info", http.StatusOK); err != nil {
		return err
	}
	return d.curl(ctx, "FIRST", d.first, "/v1/projects/alerts", http.StatusOK)
}

func (d *demo) renew(ctx context.Context) error {
	out, err := d.cli(ctx, "lease", "renew", d.lease)
	if err != nil {
		return err
	}
	switch d.second = row(out, "token"); d.second {
	case "":
		return errors.New("the answer holds no token")
	case d.first:
		return errors.New("the renewal gave the first token again")
	}
	d.say("SECOND is this token from here on; it is another one than FIRST")
	return nil
}

func (d *demo) useSecond(ctx context.Context) error {
	if err := d.curl(ctx, "SECOND", d.second, "/v1/users/info", http.StatusOK); err != nil {
		return err
	}
	return d.curl(ctx, "SECOND", d.second, "/v1/projects/alerts", http.StatusOK)
}

// revoke waits for Palette's answer (-sync), so that what comes next is true.
func (d *demo) revoke(ctx context.Context) error {
	_, err := d.cli(ctx, "lease", "revoke", "-sync", d.lease)
	return err
}

func (d *demo) bothDead(ctx context.Context) error {
	if err := d.curl(ctx, "FIRST", d.first, "/v1/users/info", http.StatusUnauthorized); err != nil {
		return err
	}
	return d.curl(ctx, "SECOND", d.second, "/v1/users/info", http.StatusUnauthorized)
}

// cli runs a vault command and shows it with its output.
func (d *demo) cli(ctx context.Context, args ...string) (string, error) {
	d.command("vault " + quoted(args))
	return d.result(d.vault.CLI(ctx, "", args...))
}

// result shows what a command has printed.
func (d *demo) result(out vaulttest.Output, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if token := row(out.Stdout, "token"); token != "" {
		d.tokens = append(d.tokens, token)
	}
	d.output(out.Stdout + out.Stderr)
	if out.Code != 0 {
		return "", fmt.Errorf("the command ended with status %d", out.Code)
	}
	return out.Stdout, nil
}

// row is a value in the table that the vault CLI prints, nothing where there is none.
func row(output, key string) string {
	found := regexp.MustCompile(`(?m)^` + key + `\s+(\S+)$`).FindStringSubmatch(output)
	if found == nil {
		return ""
	}
	return found[1]
}

// curl calls Palette with a token, and shows it as the curl command that does the same.
func (d *demo) curl(ctx context.Context, name, token, path string, want int) error {
	d.command(fmt.Sprintf(`curl -sS -w '%%{http_code}\n' -H "Authorization: $%s" %s%s`, name, d.palette.Address, path))
	deadline := time.Now().Add(deathPatience)
	for {
		status, body, err := call(ctx, d.palette.Address+path, token)
		if err != nil {
			return err
		}
		late := want == http.StatusOK || time.Now().After(deadline)
		if status != want && !late {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				continue
			}
		}
		d.output(body + fmt.Sprint(status))
		if status != want {
			return fmt.Errorf("got %d from Palette where %d was expected", status, want)
		}
		return nil
	}
}

// call is one GET at Palette.
func call(ctx context.Context, url, token string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", token) // no "Bearer": Palette's form
	client := &http.Client{
		// A redirect could carry the token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(body), err
}
