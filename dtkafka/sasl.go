package main

import (
	"context"

	"github.com/segmentio/kafka-go/sasl"
	saslplain "github.com/segmentio/kafka-go/sasl/plain"
	"github.com/xdg-go/scram"
)

// A secret is a password. It shows in nothing that is printed, also as part of something else: fmt prints what a field holds, but not what
// it points to.
type secret struct{ text *string }

func newSecret(text string) secret { return secret{&text} }

func (s secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// A login is a SASL mechanism that keeps its password to itself, and whose errors are told from those of the connection.
type login struct {
	name, user string
	password   secret
}

// newMechanism returns the SASL mechanism of a name as Kafka spells it, or nil for one that is not known.
func newMechanism(name, user string, password secret) sasl.Mechanism {
	switch name {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		return login{name, user, password}
	}
	return nil
}

func (l login) Name() string { return l.name }

func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	var hash scram.HashGeneratorFcn
	switch l.name {
	case "SCRAM-SHA-256":
		hash = scram.SHA256
	case "SCRAM-SHA-512":
		hash = scram.SHA512
	default:
		return saslplain.Mechanism{Username: l.user, Password: l.password.reveal()}.Start(ctx)
	}
	// Kafka takes the bytes of user and password as they are. kafka-go's own mechanism prepares them (SASLprep): then a right password
	// with a ² in it is wrong, and one that can't be prepared is quoted in the error.
	client, err := hash.NewClientUnprepped(l.user, l.password.reveal(), "")
	if err != nil {
		return nil, nil, &loginError{"it can't begin"}
	}
	c := &conversation{client.NewConversation()}
	_, first, err := c.Next(ctx, nil)
	return c, first, err
}

// A conversation is one login by SCRAM as it goes on.
type conversation struct{ *scram.ClientConversation }

func (c *conversation) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	text, err := c.Step(string(challenge))
	if err != nil {
		return false, nil, &loginError{err.Error()}
	}
	return c.Done(), []byte(text), nil
}

// A loginError is a login that went wrong on our side: the broker does not keep to the mechanism, or does not know the password itself.
type loginError struct{ reason string }

func (e *loginError) Error() string { return e.reason }
