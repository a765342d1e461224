// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command gogit6 serves the repositories below a directory by go-git v6's
// backend, over HTTP(S) and SSH, to one user. It prints both addresses and runs
// until its input ends.
package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-git/go-billy/v6/osfs"
	"github.com/go-git/go-git/v6/backend"
	"github.com/go-git/go-git/v6/plumbing/transport"
	"golang.org/x/crypto/ssh"
)

var (
	root       = flag.String("root", "", "directory of the repositories")
	user       = flag.String("user", "ann", "name of the user")
	password   = flag.String("password", "pw", "password over HTTP")
	cert       = flag.String("cert", "", "certificate and key in one file: serve HTTPS")
	clientCA   = flag.String("client-ca", "", "authority of client certificates: demand one")
	hostKey    = flag.String("host-key", "", "SSH host key")
	authorized = flag.String("authorized", "", "public key of the user, in authorized_keys form")
)

func main() {
	flag.Parse()
	b := backend.New(transport.NewFilesystemLoader(osfs.New(*root), false))
	b.ErrorLog = log.New(os.Stderr, "", 0)
	web, err := serveHTTP(b)
	if err != nil {
		log.Fatal(err)
	}
	shell, err := serveSSH(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ready %s %s\n", web, shell)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serveHTTP(b *backend.Backend) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := l.Addr().String()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, pw, _ := r.BasicAuth()
		known := name == *user && subtle.ConstantTimeCompare([]byte(pw), []byte(*password)) == 1
		if !known {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.ServeHTTP(w, r)
	})
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *cert)
		if err != nil {
			return "", err
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
		if *clientCA != "" {
			pem, err := os.ReadFile(*clientCA)
			if err != nil {
				return "", err
			}
			cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
			cfg.ClientCAs.AppendCertsFromPEM(pem)
		}
		l = tls.NewListener(l, cfg)
	}
	go func() { log.Fatal(http.Serve(l, handler)) }()
	return address, nil
}

func serveSSH(b *backend.Backend) (string, error) {
	if *hostKey == "" {
		return "-", nil
	}
	pem, err := os.ReadFile(*hostKey)
	if err != nil {
		return "", err
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return "", err
	}
	allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*authorized))
	if err != nil {
		return "", err
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go connection(b, c, cfg)
		}
	}()
	return l.Addr().String(), nil
}

func connection(b *backend.Backend, c net.Conn, cfg *ssh.ServerConfig) {
	conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		if ch, reqs, err := nc.Accept(); err == nil {
			go session(b, conn, ch, reqs)
		}
	}
}

func session(b *backend.Backend, conn *ssh.ServerConn, ch ssh.Channel, reqs <-chan *ssh.Request) {
	version := ""
	for r := range reqs {
		switch r.Type {
		case "env":
			var kv struct{ Name, Value string }
			if ssh.Unmarshal(r.Payload, &kv) == nil && kv.Name == "GIT_PROTOCOL" {
				version = kv.Value
			}
			_ = r.Reply(true, nil)
		case "exec":
			var cmd struct{ Line string }
			_ = ssh.Unmarshal(r.Payload, &cmd)
			_ = r.Reply(true, nil)
			go command(b, conn, ch, cmd.Line, version)
		default:
			_ = r.Reply(false, nil)
		}
	}
}

func command(b *backend.Backend, conn *ssh.ServerConn, ch ssh.Channel, line, version string) {
	service, arg, _ := strings.Cut(line, " ")
	path := strings.ReplaceAll(strings.Trim(arg, "'"), `'\''`, "'")
	err := b.Serve(context.Background(), ch, ch, &backend.Request{
		URL: &url.URL{Scheme: "ssh", Path: path}, Service: service, GitProtocol: version,
	})
	status := uint32(0)
	if err != nil {
		status = 1
		_, _ = fmt.Fprintln(ch.Stderr(), err)
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	_ = ch.Close()
}
