package transport

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// NormalAddress is the form of an address in which two spellings are the same: without the scheme's own
// port, an IP address in its shortest form. The form is for counting and comparing alone; the engine
// stores and calls the address as it was written. A dot at the end of a name stays: without it the name
// may be looked up in other domains.
func NormalAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	}
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || port == map[string]string{"https": "443", "http": "80"}[scheme] {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + port
}

// NormalEmail is the same for an email address: Palette takes them without case (an assumption, which
// costs nothing where it is wrong: two accounts are then counted as one).
func NormalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }
