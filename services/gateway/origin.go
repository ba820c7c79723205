package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// allowed says whether the page that opens the socket may. A client that is no browser sends no Origin.
func (g *gateway) allowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) != 1 {
		return len(origins) == 0
	}
	origin := origins[0]
	if slices.Contains(g.AllowedOrigins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || !strings.EqualFold(origin, u.Scheme+"://"+u.Host) {
		return false
	}
	// Behind a proxy that does not keep Host, the browser's is in X-Forwarded-Host. A page can set neither.
	for _, host := range []string{r.Host, r.Header.Get("X-Forwarded-Host")} {
		if host != "" && strings.EqualFold(u.Host, host) {
			return true
		}
	}
	return false
}
