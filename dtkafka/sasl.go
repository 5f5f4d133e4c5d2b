package main

import (
	"context"

	"github.com/segmentio/kafka-go/sasl"
	saslplain "github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
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
	m, err := l.mechanism()
	if err != nil {
		return nil, nil, &loginError{err.Error()}
	}
	s, first, err := m.Start(ctx)
	return conversation{s}, first, err
}

func (l login) mechanism() (sasl.Mechanism, error) {
	switch l.name {
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, l.user, l.password.reveal())
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, l.user, l.password.reveal())
	}
	return saslplain.Mechanism{Username: l.user, Password: l.password.reveal()}, nil
}

// A conversation is one login as it goes on.
type conversation struct{ sasl.StateMachine }

func (c conversation) Next(ctx context.Context, challenge []byte) (done bool, response []byte, err error) {
	if done, response, err = c.StateMachine.Next(ctx, challenge); err != nil {
		err = &loginError{err.Error()}
	}
	return done, response, err
}

// A loginError is a login that went wrong on our side: the broker does not keep to the mechanism, or does not know the password itself.
type loginError struct{ reason string }

func (e *loginError) Error() string { return e.reason }
