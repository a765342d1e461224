// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/server"
)

// deadlines notes the write deadlines of a response.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// ART-45: a connection has the deadline of the response before; each answer,
// also one without a body, sets its own.
func TestDeadlineOfEachAnswer(t *testing.T) {
	s := start(t, server.Options{})
	a := s.write(t, "hello")
	h := server.New(s.store, server.Options{})
	for name, tc := range map[string]struct {
		method, path, match string
		code                int
	}{
		"Get": {http.MethodGet, "/" + a.Path, "", 200}, "Head": {http.MethodHead, "/" + a.Path, "", 200}, "Absent": {http.MethodGet, "/x/y/z/f", "", 404},
		"Root": {http.MethodGet, "/", "", 200}, "Method": {http.MethodPost, "/", "", 405}, "NotModified": {http.MethodGet, "/" + a.Path, `"` + a.Digest + `"`, 304},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(tc.method, tc.path, nil)
			if tc.match != "" {
				r.Header.Set("If-None-Match", tc.match)
			}
			h.ServeHTTP(w, r)
			g.Expect(w.Code).To(Equal(tc.code))
			g.Expect(w.set).NotTo(BeEmpty())
			g.Expect(w.set[0].After(time.Now())).To(BeTrue())
		})
	}
}
