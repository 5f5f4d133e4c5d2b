package remote

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dt/internal/tool"
)

// keys are what requests to S3 are signed with.
type keys struct {
	id, secret, token string
	from              string // where they are from; empty: there are none, and nothing is signed
}

// secretFrom is where the secret one is from.
func (k *keys) secretFrom() string {
	if k.from == "AWS_ACCESS_KEY_ID" {
		return "AWS_SECRET_ACCESS_KEY"
	}
	return k.from
}

// largestSettings is more than a file of credentials has.
const largestSettings = 1 << 20

// findKeys looks for the keys in the places where AWS's own tools do, unless a file is given.
func findKeys(given string) (keys, error) {
	switch {
	case given == "none":
		return keys{}, nil
	case given != "":
		k, err := readKeys(given, cmp.Or(os.Getenv("AWS_PROFILE"), "default"))
		if err != nil {
			return keys{}, badKeys("--credentials "+given, err)
		}
		return k, nil
	}
	k := keys{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"), "AWS_ACCESS_KEY_ID"}
	switch {
	case k.id != "" && k.secret != "":
		return k, nil
	case k.id != "":
		return keys{}, tool.Hint(&tool.UsageError{Msg: "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"}, "export both, or --credentials FILE")
	case k.secret != "":
		return keys{}, tool.Hint(&tool.UsageError{Msg: "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not"}, "export both, or --credentials FILE")
	}
	profile := os.Getenv("AWS_PROFILE")
	file, variable := env("AWS_SHARED_CREDENTIALS_FILE")
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return keys{}, nil
		}
		file = filepath.Join(home, ".aws", "credentials")
	}
	k, err := readKeys(file, cmp.Or(profile, "default"))
	var none *noProfileError
	switch {
	case err == nil:
		return k, nil
	case profile == "" && errors.As(err, &none), profile == "" && variable == "" && errors.Is(err, fs.ErrNotExist):
		return keys{}, nil // it was not asked for
	case profile != "" && errors.Is(err, fs.ErrNotExist):
		return keys{}, badKeys("AWS_PROFILE "+shown(profile), fmt.Errorf("%s: %w", file, err))
	}
	return keys{}, badKeys(strings.TrimSpace(variable+" "+file), err)
}

func badKeys(place string, err error) error {
	hint := `{"key_id": "…", "key": "…"}, or a profile with aws_access_key_id and aws_secret_access_key`
	var none *noProfileError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "--credentials FILE, or none"
	case errors.As(err, &none):
		hint = "AWS_PROFILE chooses one that is there"
	}
	return tool.Hint(&tool.UsageError{Msg: place + ": " + err.Error()}, hint)
}

// readKeys reads a file of keys, either JSON or the profiles of AWS.
func readKeys(file, profile string) (keys, error) {
	text, err := readSmall(file, largestSettings)
	if err != nil {
		return keys{}, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	trimmed := bytes.TrimSpace(text)
	if !bytes.HasPrefix(trimmed, []byte("{")) {
		return readProfile(string(text), file, profile)
	}
	var got struct {
		ID  string `json:"key_id"`
		Key string `json:"key"`
	}
	if err := json.Unmarshal(trimmed, &got); err != nil {
		return keys{}, errors.New("this is no JSON that can be read") // what is wrong could be a part of the key
	}
	k := keys{id: strings.TrimSpace(got.ID), secret: strings.TrimSpace(got.Key), from: file}
	switch {
	case k.id == "":
		return keys{}, errors.New("there is no key_id in it")
	case k.secret == "":
		return keys{}, errors.New("there is no key in it")
	}
	return k, nil
}

// A noProfileError says that a file has no such profile.
type noProfileError struct{ profile string }

func (e *noProfileError) Error() string { return "there is no profile " + shown(e.profile) + " in it" }

// readProfile reads one of the profiles in a file as AWS's tools write it.
func readProfile(text, file, profile string) (keys, error) {
	k := keys{from: "profile " + shown(profile) + " of " + file}
	profiles, found, inside := false, false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && line[len(line)-1] == ']' {
			name := strings.TrimSpace(line[1 : len(line)-1])
			name = strings.TrimSpace(strings.TrimPrefix(name, "profile "))
			profiles, inside = true, name == profile
			found = found || inside
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); !inside {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			k.id = value
		case "aws_secret_access_key":
			k.secret = value
		case "aws_session_token":
			k.token = value
		}
	}
	switch {
	case !profiles:
		return keys{}, errors.New("this is neither JSON nor a file of AWS profiles")
	case !found:
		return keys{}, &noProfileError{profile}
	case k.id == "":
		return keys{}, fmt.Errorf("the profile %s has no aws_access_key_id", shown(profile))
	case k.secret == "":
		return keys{}, fmt.Errorf("the profile %s has no aws_secret_access_key", shown(profile))
	}
	return k, nil
}
