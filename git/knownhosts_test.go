// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// rsaOnly is what a client may ask of a host of which an RSA key is known.
const rsaOnly = "rsa-sha2-512,rsa-sha2-256"

// GIT-13, GIT-T2: a file with lines for several hosts, and with fewer types of
// key for a host than it has, is used alike every time: plain, with hashed
// names, and among lines of the same host with other ports. The verdict on each
// form is that of OpenSSH.
func TestKnownHostsOfSeveralHosts(t *testing.T) {
	h := startSSH(t, gitserver.SSHOptions{HostKeys: []gitserver.KeyType{gitserver.Ed25519, gitserver.ECDSA256, gitserver.RSA2048}})
	var rsa, hashed string
	for _, k := range h.keys {
		if strings.HasPrefix(k, "ssh-rsa ") {
			rsa = k
		}
	}
	for line := range strings.Lines(string(h.srv.KnownHosts(gitserver.Hashed))) {
		if strings.Contains(line, " ssh-rsa ") {
			hashed = line
		}
	}
	ed, otherRSA := otherKey(t, gitserver.Ed25519), otherKey(t, gitserver.RSA3072)
	a := "a.example " + ed + "\na.example " + otherRSA + "\n"
	ports := "127.0.0.1 " + ed + "\n[127.0.0.1]:1 " + otherRSA + "\n[127.0.0.1]:2222 " + ed + "\n[a.example]:" + h.port + " " + ed + "\n"
	b := h.name + " " + rsa + "\n"
	unknown := git.ErrHostKeyUnknown
	rows := map[string]hostRow{
		"Plain":         {a + b, nil, ""},
		"PlainFirst":    {b + a, nil, ""},
		"Hashed":        {a + hashed, nil, ""},
		"HashedFirst":   {hashed + a, nil, ""},
		"Ports":         {a + ports + b, nil, ""},
		"PortsHashed":   {ports + hashed + a, nil, ""},
		"OnlyA":         {a, unknown, ""},
		"OtherPorts":    {a + strings.TrimPrefix(ports, "127.0.0.1 "+ed+"\n"), unknown, ""},
		"WrongRSA":      {a + h.name + " " + otherRSA + "\n", git.ErrHostKeyMismatch, ""},
		"WrongThenGood": {a + h.name + " " + otherRSA + "\n" + b, nil, ""},
	}
	h.check(t, rows)

	// Every line on its own, and each of them before and after the good one.
	for _, line := range strings.SplitAfter(strings.TrimSuffix(a+ports, "\n"), "\n") {
		t.Run(strings.Fields(line)[0], func(t *testing.T) {
			g := NewWithT(t)
			line = strings.TrimSuffix(line, "\n") + "\n"
			for text, want := range map[string]error{line: unknown, line + b: nil, b + line: nil, line + hashed: nil} {
				stricter := want != nil && strings.HasPrefix(line, "127.0.0.1 ") // for ssh the host without a port stands in, and its key is another
				err := h.ours(t, text)
				g.Expect(errors.Is(err, want)).To(BeTrue(), "%s\n%v", text, err)
				if !stricter {
					g.Expect(h.openSSH(t, text)).To(Equal(want == nil), "verdict of ssh for\n%s", text)
				}
			}
		})
	}

	for name, lines := range map[string]string{"Plain": a + b, "Hashed": a + hashed, "Ports": ports + b + a} {
		t.Run("Dials/"+name, func(t *testing.T) {
			g := NewWithT(t)
			for range 100 {
				g.Expect(h.ours(t, lines)).To(Succeed())
			}
		})
	}
	t.Run("NoSHA1", func(t *testing.T) {
		g := NewWithT(t)
		o := h.options(t, true)
		o.SSH.KnownHosts, o.SSH.HostKeyAlgorithms = []byte(a+b), []string{"ssh-rsa"}
		_, err := git.New(h.repo.SSHURL(), o)
		g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "%v", err)
	})
}

// GIT-13, GIT-T2: what is offered to a host is the same list in 100 of 100
// dials, names no SHA-1, and begins with what OpenSSH begins with.
func TestOfferedHostKeyAlgorithms(t *testing.T) {
	g := NewWithT(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	offers := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			list, err := offered(c)
			if err != nil {
				list = err.Error()
			}
			offers <- list
			_ = c.Close()
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	priv, _, err := gitserver.NewKey(gitserver.Ed25519, "")
	g.Expect(err).NotTo(HaveOccurred())
	ed, rsa, ec := otherKey(t, gitserver.Ed25519), otherKey(t, gitserver.RSA2048), otherKey(t, gitserver.ECDSA384)
	name := "[127.0.0.1]:" + port
	a := "a.example " + ed + "\na.example " + rsa + "\n127.0.0.1 " + ec + "\n[127.0.0.1]:2222 " + ed + "\n"
	for _, tc := range []struct {
		lines, want string
		dials       int
	}{
		{a + name + " " + rsa + "\n", rsaOnly, 100},
		{name + " " + rsa + "\n" + a, rsaOnly, 100},
		{a + name + " " + rsa + "\n" + name + " " + ed + "\n", rsaOnly + ",ssh-ed25519", 1},
		{name + " " + ec + "\n" + a + name + " " + rsa + "\n", "ecdsa-sha2-nistp384," + rsaOnly, 1},
	} {
		for range tc.dials {
			o := git.Options{TempDir: t.TempDir(), Credentials: git.Static(git.Credential{SSHKey: git.NewSecret(string(priv))})}
			o.SSH.KnownHosts, o.HTTP.Attempts = []byte(tc.lines), 1
			c, err := git.New("ssh://git@127.0.0.1:"+port+"/app", o)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.List(t.Context(), git.ListOptions{})
			g.Expect(err).To(HaveOccurred(), "the host says nothing more")
			g.Expect(<-offers).To(Equal(tc.want), tc.lines)
			g.Expect(c.Close()).To(Succeed())
		}
		file := filepath.Join(t.TempDir(), "known_hosts")
		g.Expect(os.WriteFile(file, []byte(tc.lines), 0o600)).To(Succeed())
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+file,
			"-o", "GlobalKnownHostsFile=/dev/null", "-p", port, "git@127.0.0.1", "x").CombinedOutput()
		g.Expect(err).To(HaveOccurred(), string(out))
		theirs := slices.DeleteFunc(strings.Split(<-offers, ","), func(a string) bool { return strings.Contains(a, "-cert-v01@") }) // it takes an authority to be possible
		known := strings.Split(tc.want, ",")
		g.Expect(known).To(ContainElement(theirs[0]), "what ssh prefers is known of the host")
		if tc.want == rsaOnly {
			g.Expect(strings.Join(theirs[:2], ",")).To(Equal(rsaOnly))
		}
	}
}

// offered reads the host key algorithms from a client's first packet, which is
// not encrypted yet (RFC 4253, 6 and 7.1).
func offered(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "SSH-2.0-test\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		return "", err
	}
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 30 || n > 35000 {
		return "", errors.New("no packet")
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	body = body[17:] // type and cookie
	for range 2 {    // key exchanges, then host keys
		size := binary.BigEndian.Uint32(body)
		if uint64(size)+8 > uint64(len(body)) {
			return "", errors.New("list cut off")
		}
		list := string(body[4 : 4+size])
		if body = body[4+size:]; strings.Contains(list, "rsa-sha2") || strings.Contains(list, "ssh-ed25519") || strings.Contains(list, "ecdsa-sha2") {
			return list, nil
		}
	}
	return "", errors.New("no host key algorithms")
}
