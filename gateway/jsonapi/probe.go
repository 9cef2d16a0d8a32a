package jsonapi

import (
	"context"
	"net/http"
	"strings"
)

// version answers as etcd does. Clients parse every part as a number.
func version(server string) http.Handler {
	major, rest, _ := strings.Cut(server, ".")
	minor, _, _ := strings.Cut(rest, ".")
	cluster := major + "." + minor + ".0"
	body := struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
	}{server, cluster, cluster}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, body) })
}

// health answers as etcd does: ?serializable=true asks only this node, ?exclude=NOSPACE overlooks an alarm.
func health(check func(ctx context.Context, serializable bool, exclude []string) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		reason := check(r.Context(), query.Get("serializable") == "true", query["exclude"])
		body := struct {
			Health string `json:"health"`
			Reason string `json:"reason"`
		}{"true", reason}
		code := http.StatusOK
		if reason != "" {
			body.Health, code = "false", http.StatusServiceUnavailable
		}
		writeJSON(w, code, body)
	})
}
