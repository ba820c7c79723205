package service

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Address gives the key by which the client's address is counted: the address itself, or the 64-bit network of one of IPv6, of which
// one client has as many as it likes. It is the last one in X-Forwarded-For that is no trusted proxy; what stands before it
// the client may have written itself. Without trusted proxies it is whoever has connected.
func (s Settings) Address(r *http.Request) string {
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	a := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil || !trusted(a) {
			break
		}
		a = next.Unmap().WithZone("")
	}
	if a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return a.String()
}
