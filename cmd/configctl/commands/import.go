package commands

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) imports() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "fill an empty log with a backup", Args: cobra.ExactArgs(1), Annotations: long,
		Long: "Fills an empty log with what configctl export has written, all or nothing, and waits until\n" +
			"all of it can be read. Positions and hashes are those of the export. - is standard input.",
		Example: "  configctl import backup.ndjson\n  configctl export --server http://old:4000 | configctl import - --server http://new:4000",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			in, size, err := c.open(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			header, export, err := peek(in)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			p := c.progress("importing")
			defer p.end()
			head, err := api.Import(cmd.Context(), &countedReader{Reader: export, size: size, at: p.at})
			if errors.Is(err, client.ErrConflict) {
				return fmt.Errorf("only an empty log can be filled, so that nothing is mixed: %w", err)
			}
			if err != nil {
				return err
			}
			if head.Position != header.Position || head.Hash != header.Hash {
				return fmt.Errorf("imported up to position %d with hash %s; the export says %d and %s", head.Position, head.Hash, header.Position, header.Hash)
			}
			if err := c.awaitReaders(cmd.Context(), api, head); err != nil {
				return fmt.Errorf("all is imported, but can't be read yet: %w", err)
			}
			p.end()
			return c.print(answer{
				data:  head,
				text:  fmt.Sprintf("imported %d events up to position %d, hash %s: the same as in the export", header.Position, head.Position, head.Hash),
				value: []string{number(head.Position)},
			})
		},
	}
}

// open opens a file, or standard input as -; its size is 0 when it can't be told.
func (c *cli) open(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(c.In), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// peek reads the first line of an export, and returns a reader of all of it.
func peek(r io.Reader) (config.ExportHeader, io.Reader, error) {
	var header config.ExportHeader
	in := bufio.NewReaderSize(r, 64<<10)
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &header)
	}
	if err != nil || header.Format != config.ExportFormat {
		return header, nil, errors.New("it is not what configctl export writes of a whole log")
	}
	return header, io.MultiReader(bytes.NewReader(line), in), nil
}

// countedReader tells how much was read.
type countedReader struct {
	io.Reader
	done, size int64
	at         func(done, total int64)
}

func (r *countedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.done += int64(n)
	r.at(r.done, r.size)
	return n, err
}

const (
	readersPoll = 200 * time.Millisecond
	// readersWait is the longest that the API waits in one request.
	readersWait = 30 * time.Second
)

// awaitReaders returns when reads show the log up to a position, those of the memory
// and those of the tables. Until they know the log, they say that the position is of
// another one, which is no fault here.
func (c *cli) awaitReaders(ctx context.Context, reader api, head client.Head) error {
	for {
		reader.Echo(config.Token{Epoch: head.Epoch, Position: head.Position})
		_, err := reader.ns.ListPage(ctx, "", 1, "", client.Wait(readersWait))
		if err == nil && head.Position > 0 {
			_, err = reader.ns.ListPage(ctx, "", 1, "", client.Wait(readersWait), client.AtPosition(head.Position))
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, client.ErrEpochMismatch) && !errors.Is(err, client.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(readersPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
