// Command server is a small web application for the tests of the app role. Its environment tells it how to misbehave.
package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
)

// version is set by the linker, so that two builds have two digests.
var version = "unset"

func main() {
	secrets, err := os.ReadFile(os.Getenv("SECRETS_FILE"))
	fmt.Printf("server %s, uid %d, secrets readable: %t\n", version, os.Getuid(), err == nil)
	if os.Getenv("MISBEHAVE") == "exit" {
		// A careless application logs what it was given; the deploy has to hide it.
		fmt.Printf("cannot go on with %s\n", secrets)
		os.Exit(3)
	}
	var migrations atomic.Int64
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("MISBEHAVE") == "unhealthy" {
			http.Error(w, "not well", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, version)
	})
	http.HandleFunc("POST /admin/migrate", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Printf("migration request %d\n", migrations.Add(1))
		if os.Getenv("MISBEHAVE") == "unmigratable" {
			http.Error(w, "relation exists already", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "migrations applied")
	})
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("MISBEHAVE") == "unready" {
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	http.HandleFunc("GET /migrations", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, migrations.Load()) })
	http.HandleFunc("GET /secrets-sha256", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%x", sha256.Sum256(secrets))
	})
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
