// Reads a log over HTTP with Go's own sumdb packages, which share no code with ours: verifies the
// checkpoint's signature, every tile, and for every entry its hash and its proof.
//
// Usage: main URL VKEY
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func get(url string) []byte {
	answer, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s %v", url, answer.Status, err)
	}
	return body
}

// Tiles of height 8, whose height the specification leaves out of their paths.
type tiles struct{ url string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		all = append(all, get(t.url+"/"+path))
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	url := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	opened, err := note.Open(get(url+"/checkpoint"), note.VerifierList(verifier))
	if err != nil {
		log.Fatal(err)
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || lines[0] != verifier.Name() {
		log.Fatal("another log, or no size: ", lines, err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil {
		log.Fatal(err)
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	reader := tlog.TileHashReader(tree, tiles{url})
	var leaves []tlog.Hash
	for at := int64(0); at < size; at += 256 {
		// The same names as tiles of level 0.
		tile := tlog.Tile{H: 8, L: 0, N: at / 256, W: 256}
		if size-at < 256 {
			tile.W = int(size - at)
		}
		path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		bundle := get(url + "/" + path)
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			leaves = append(leaves, tlog.RecordHash(bundle[2:2+length]))
			bundle = bundle[2+length:]
		}
	}
	if int64(len(leaves)) != size {
		log.Fatalf("%d entries in a log of %d", len(leaves), size)
	}
	for at, leaf := range leaves {
		proof, err := tlog.ProveRecord(size, int64(at), reader)
		if err != nil {
			log.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, tree.Hash, int64(at), leaf); err != nil {
			log.Fatalf("record %d: %v", at, err)
		}
	}
	for old := int64(1); old <= size; old += 1 + size/7 {
		proof, err := tlog.ProveTree(size, old, reader)
		if err != nil {
			log.Fatal(err)
		}
		before, err := tlog.TreeHash(old, reader)
		if err != nil {
			log.Fatal(err)
		}
		if err := tlog.CheckTree(proof, size, tree.Hash, old, before); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%d records verified\n", size)
}
