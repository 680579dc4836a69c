package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	systest.CleanUp()
	os.Exit(code)
}

// What it is all about: Tom and Jerry talk, Jerry's laptop sleeps, messages go on,
// and he comes back and misses nothing, over everything a stream may come by.
func TestStory(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	plain := systest.Start(t, dsn)
	secure := systest.New(t, dsn, certificate(t)...)
	secure.TLS = true
	secure.Launch()
	secure.AwaitReady()
	for _, tt := range []struct {
		name     string
		server   *systest.Server
		protocol systest.Protocol
	}{
		{"HTTP/1.1", plain, systest.HTTP1},
		{"HTTP/2 in clear", plain, systest.HTTP2},
		{"HTTP/1.1 over TLS", secure, systest.HTTP1},
		{"HTTP/2 over TLS", secure, systest.HTTP2},
	} {
		t.Run(tt.name, func(t *testing.T) { story(t, tt.server, tt.protocol) })
	}
}

func story(t *testing.T, s *systest.Server, p systest.Protocol) {
	tom, jerry := s.As(systest.Unique("Tom")).Over(t, p), s.As(systest.Unique("Jerry")).Over(t, p)
	laptop, phone := jerry.Open(t, "laptop"), jerry.Open(t, "phone")
	toms := tom.Open(t, "web")

	id := tom.Create(t, jerry.ID)
	var invited struct {
		ConversationID, InvitedBy string
		Conversation              struct {
			ID      string
			Members []string
		}
	}
	laptop.AwaitEvent(t, "invited").Into(t, &invited)
	if invited.ConversationID != id || invited.InvitedBy != tom.ID || invited.Conversation.ID != id || len(invited.Conversation.Members) != 2 {
		t.Errorf("invited: %+v", invited)
	}
	first := tom.Say(t, id, "hello", "Parley-Session", "web")
	if first.Seq != 1 || first.From != tom.ID || first.ConversationID != id {
		t.Errorf("the first message: %+v", first)
	}
	laptop.AwaitText(t, "hello")

	laptop.Cut()
	if laptop.Last() == "" {
		t.Fatal("no event had an id")
	}
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("while you slept %d", i))
		tom.Say(t, id, want[i], "Parley-Session", "web")
	}
	before := len(laptop.Frames())
	if status, err := laptop.Connect(); err != nil || status != 200 {
		t.Fatalf("come back: %d, %v", status, err)
	}
	laptop.AwaitText(t, want[29])
	tom.Say(t, id, "are you there?", "Parley-Session", "web")
	laptop.AwaitText(t, "are you there?")

	var ready struct {
		ClientID, SessionID, Position string
		Resumed                       bool
	}
	laptop.Frames()[before].Into(t, &ready)
	if back := laptop.Frames()[before]; back.Event != "ready" || back.ID != ready.Position || !ready.Resumed || ready.SessionID != "laptop" || ready.ClientID != jerry.ID {
		t.Errorf("the first event of a resumed stream: %s", back)
	}
	all := append(append([]string{"hello"}, want...), "are you there?")
	phone.AwaitText(t, "are you there?")
	for _, d := range []*systest.Device{laptop, phone} {
		if got := d.Texts(); !slices.Equal(got, all) {
			t.Errorf("%s got %q", d.Session, got)
		}
	}
	if got := toms.Texts(); got != nil {
		t.Errorf("the acting session heard itself: %q", got)
	}
	if r := laptop.Retry(); r < 1000 || r > 5000 {
		t.Errorf("retry: %d", r)
	}
	// Tom's other device, without a header on the request, gets all of it too.
	jerry.Say(t, id, "yes")
	toms.AwaitText(t, "yes")
	laptop.AwaitText(t, "yes")
}

// certificate makes one for this machine, and returns the settings that use it.
func certificate(t *testing.T) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var settings []string
	for name, block := range map[string]*pem.Block{"CERT": {Type: "CERTIFICATE", Bytes: cert}, "KEY": {Type: "PRIVATE KEY", Bytes: private}} {
		path := filepath.Join(dir, name+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		settings = append(settings, "PARLEY_TLS_"+name+"="+path)
	}
	return settings
}
