// Command server is a small web application for the tests of the app role. Its environment tells it how to misbehave.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// version is set by the linker, so that two builds have two digests.
var version = "unset"

func main() {
	secrets, err := os.ReadFile(os.Getenv("SECRETS_FILE"))
	fmt.Printf("server %s, uid %d, secrets readable: %t\n", version, os.Getuid(), err == nil)
	misbehave := os.Getenv("MISBEHAVE")
	if misbehave == "exit" {
		// A careless application logs what it was given; the deploy has to hide it.
		fmt.Printf("cannot go on with %s\n", secrets)
		os.Exit(3)
	}
	var migrations atomic.Int64
	http.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if misbehave == "unhealthy" {
			http.Error(w, "not well", http.StatusInternalServerError)
			return
		}
		if misbehave == "crash" && r.Header.Get("X-Real-Ip") != "" {
			// Well until the first request that comes through the web server.
			fmt.Println("cannot stand the public")
			os.Exit(4)
		}
		fmt.Fprintln(w, version)
	})
	http.HandleFunc("POST /admin/migrate", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Printf("migration request %d\n", migrations.Add(1))
		if misbehave == "unmigratable" {
			http.Error(w, "relation exists already", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "migrations applied")
	})
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if misbehave == "unready" {
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	http.HandleFunc("GET /migrations", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, migrations.Load()) })
	http.HandleFunc("GET /secrets-sha256", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%x", sha256.Sum256(secrets))
	})
	http.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		// However long it takes; says who took it, and all of what.
		sum := sha256.New()
		size, err := io.Copy(sum, r.Body)
		if err != nil {
			fmt.Printf("an upload broke off: %v\n", err)
			return
		}
		fmt.Fprintf(w, "%s %d %x\n", version, size, sum.Sum(nil))
	})
	http.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		// Longer than a switch, shorter than a drain.
		time.Sleep(3 * time.Second)
		fmt.Fprintln(w, version)
	})
	http.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServer(http.Dir("/assets"))))
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
