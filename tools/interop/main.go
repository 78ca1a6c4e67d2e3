// Command interop judges what tools/demo.py made with other people's code alone: the key and the note are read by
// golang.org/x/mod/sumdb/note, the proof file by transparency-dev/formats and transparency-dev/merkle, and the
// published copy by Tessera's fsck. From this directory, after the demo: go run . ../../demo
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	flog "github.com/transparency-dev/formats/log"
	fproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run . DEMO-DIRECTORY")
	}
	if err := judge(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func judge(demo string) error {
	keys, err := os.ReadFile(filepath.Join(demo, "evidence", "vkeys"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(keys), "\n")
	key, err := note.NewVerifier(first)
	if err != nil {
		return err
	}
	if err := judgeProof(demo, "evidence/event.json", key); err != nil {
		return err
	}
	if err := judgeProof(demo, "forged.json", key); err == nil {
		return errors.New("the forged event was accepted")
	}
	fmt.Println("the forged event is refused")
	files := client.FileFetcher{Root: filepath.Join(demo, "published")}
	if err := fsck.New(key.Name(), key, files, leafHashes, fsck.Opts{N: 2}).Check(context.Background()); err != nil {
		return err
	}
	fmt.Println("the published copy passes Tessera's fsck")
	return nil
}

func judgeProof(demo, event string, key note.Verifier) error {
	entry, err := os.ReadFile(filepath.Join(demo, filepath.FromSlash(event)))
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(demo, "evidence", "proof.tlog-proof"))
	if err != nil {
		return err
	}
	var file fproof.TLogProof
	if err := file.Unmarshal(raw); err != nil {
		return err
	}
	head, _, _, err := flog.ParseCheckpoint(file.Checkpoint, key.Name(), key)
	if err != nil {
		return err
	}
	hashes := make([][]byte, len(file.Hashes))
	for i := range file.Hashes {
		hashes[i] = file.Hashes[i][:]
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, file.Index, head.Size, leaf, hashes, head.Hash); err != nil {
		return err
	}
	fmt.Printf("%s is entry %d of %s, in its tree of size %d\n", event, file.Index, head.Origin, head.Size)
	return nil
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(entries.Entries))
	for i, entry := range entries.Entries {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(entry)
	}
	return hashes, nil
}
