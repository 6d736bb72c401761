package natsbridge

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A key is a key of a KeyValue bucket. It uses the bucket's stream directly, by
// the protocol of KeyValue, because [jetstream.KeyValue] has no headers.
type key struct {
	js                  jetstream.JetStream
	bucket, key         string
	stream              string
	subject, putSubject string
	api                 string // prefix of the subjects of the JetStream API
}

var (
	validBucket = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	validKey    = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)
)

func newKey(js jetstream.JetStream, bucket, name string) (*key, error) {
	if !validBucket.MatchString(bucket) {
		return nil, invalid("the bucket %q: a name can have the characters A-Z, a-z, 0-9, '_' and '-'", bucket)
	}
	if !validKey.MatchString(name) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return nil, invalid("the key %q: a key can have the characters A-Z, a-z, 0-9, '-', '/', '_', '=' and '.', but no '.' at its beginning, at its end or after another '.'", name)
	}
	k := &key{js: js, bucket: bucket, key: name, stream: "KV_" + bucket, subject: "$KV." + bucket + "." + name}
	k.putSubject, k.api = k.subject, jetstream.DefaultAPIPrefix
	switch o := js.Options(); {
	case o.Domain != "":
		k.api = "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		k.api = strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	if k.api != jetstream.DefaultAPIPrefix {
		k.putSubject = k.api + k.subject
	}
	return k, nil
}

func (k *key) String() string { return fmt.Sprintf("the key %q of the bucket %q", k.key, k.bucket) }

// open returns the stream of the bucket.
func (k *key) open(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	s, err := k.js.Stream(ctx, k.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("the bucket %q does not exist; create it, for example with CreateKeyValue of package jetstream: %w", k.bucket, err)
	case err != nil:
		return nil, err
	case s.CachedInfo().Config.Mirror != nil:
		return nil, fmt.Errorf("%w: the bucket %q is a mirror: use the bucket that it mirrors", errors.ErrUnsupported, k.bucket)
	}
	return s, nil
}

// An entry is a revision of a key. The zero entry means that the key was never
// set.
type entry struct {
	revision uint64
	header   nats.Header
	value    []byte
}

// marker reports whether the revision has no value, because the key was deleted
// or has expired.
func (e *entry) marker() bool {
	return e.revision == 0 || e.header.Get("KV-Operation") != "" || e.header.Get(jetstream.MarkerReasonHeader) != ""
}

func (e *entry) sum() [sha256.Size]byte { return sha256.Sum256(e.value) }

// last returns the newest revision of the key. It asks the stream's leader: a
// replica could answer a direct get with an older one.
func (k *key) last(ctx context.Context) (e entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": k.subject})
	if err != nil {
		return e, err
	}
	m, err := k.js.Conn().RequestWithContext(ctx, k.api+"STREAM.MSG.GET."+k.stream, request)
	if err != nil {
		return e, err
	}
	var response struct {
		Error   *jetstream.APIError
		Message *struct {
			Seq  uint64
			Hdrs []byte
			Data []byte
		}
	}
	if err := json.Unmarshal(m.Data, &response); err != nil {
		return e, err
	}
	switch {
	case response.Error != nil && response.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return e, nil
	case response.Error != nil:
		return e, response.Error
	case response.Message == nil:
		return e, errors.New("the server answered with neither a message nor an error")
	}
	e.revision, e.value = response.Message.Seq, response.Message.Data
	if len(response.Message.Hdrs) > 0 {
		e.header, err = nats.DecodeHeadersMsg(response.Message.Hdrs)
	}
	return e, err
}

// put puts a new revision of the key if the newest one is expected. Otherwise
// it returns errConflict.
func (k *key) put(ctx context.Context, m *nats.Msg, expected uint64) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	ack, err := k.js.PublishMsg(ctx, m, jetstream.WithExpectStream(k.stream),
		jetstream.WithExpectLastSequencePerSubject(expected),
		jetstream.WithRetryAttempts(20), jetstream.WithRetryWait(shortestPause))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return 0, errConflict
		}
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

var errConflict = errors.New("the key was changed meanwhile")

// follow returns an iterator over the revisions of the key, starting with the
// newest.
func (k *key) follow(ctx context.Context, s jetstream.Stream) (jetstream.MessagesContext, func(), error) {
	limited, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	c, err := s.CreateConsumer(limited, jetstream.ConsumerConfig{
		FilterSubject: k.subject, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, nil, err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(16), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return nil, nil, err
	}
	return messages, func() {
		messages.Stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shortestPause)
		defer cancel()
		// If this fails, the consumer expires by its InactiveThreshold.
		s.DeleteConsumer(ctx, c.CachedInfo().Name)
	}, nil
}
