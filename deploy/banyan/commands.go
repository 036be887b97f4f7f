package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"banyan/deploy/banyan/doctor"
	"banyan/deploy/config"
	"banyan/edge/web"
	"banyan/relay/auth"

	"github.com/alecthomas/kong"
)

// version is set by the linker, see Makefile.
var version = ""

// commandLine is what kong fills in. Each command has its own settings, as each is a grammar of its own.
type commandLine struct {
	Serve   serveCommand   `cmd:"" help:"Run the server."`
	Token   tokenCommand   `cmd:"" help:"Print a token that lets its holder publish, play or use the API."`
	Doctor  doctorCommand  `cmd:"" help:"Check this machine, and say what to do about what is wrong."`
	Config  configCommand  `cmd:"" help:"Print every setting with its meaning, default and present value, as a file to start from."`
	Version versionCommand `cmd:"" help:"Print the version."`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version."`

	Bench    benchCommand    `cmd:"" help:"Measure what viewers cost a server: this one, or any other."`
	Simulate simulateCommand `cmd:"" help:"Try the tree with thousands of simulated nodes and millions of viewers."`
}

// console is where a command writes.
type console struct {
	stdout io.Writer // what was asked for
	stderr io.Writer // logs, and what else people had better know
}

// note tells people something beside what they asked for.
func (c console) note(format string, arguments ...any) {
	_, _ = fmt.Fprintf(c.stderr, "banyan: "+format+"\n", arguments...) // nobody reads it, if this fails
}

// run does what args ask for. Its error is what the caller tells the user.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	commands := commandLine{
		Serve: serveCommand{settings: newSettings()}, Token: tokenCommand{settings: newSettings()},
		Doctor: doctorCommand{settings: newSettings()}, Config: configCommand{settings: newSettings()},
	}
	helped := false
	parser, err := kong.New(&commands,
		kong.Name("banyan"), kong.Description("One server for live video: broadcasts and calls."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(console{stdout, stderr}),
		kong.Vars{"roles": strings.Join(allRoles, ","), "version": versionLine()},
	)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if helped { // --help has printed; that no command was given is then no mistake
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w (see banyan --help)", err)
	}
	return parsed.Run()
}

type serveCommand struct {
	settings
	Roles []string `placeholder:"ROLE,…" default:"${roles}" help:"What this node does: some of ${roles}. All by default."`
	Demo  bool     `help:"Start two demo cameras and print the pages to open."`
}

func (c *serveCommand) Run(ctx context.Context, console console) error {
	if err := checkRoles(c.Roles); err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Demo && (cfg.RTSP.Addr == "" || !slices.Contains(c.Roles, "ingest")) {
		return errors.New("--demo pushes by RTSP and WHIP: set rtsp.addr, and include the role ingest")
	}
	if !slices.ContainsFunc([]string{"ingest", "transcoder"}, func(role string) bool { return slices.Contains(c.Roles, role) }) {
		keepLittle()
	}
	cfg.RTC.Loopback = cfg.RTC.Loopback || c.Demo // a laptop without a network must be able to show it, too
	return serve(ctx, cfg, options{
		Roles: c.Roles, Demo: c.Demo, Out: console.stdout, TokenCommand: c.tokenCommand(cfg),
	}, newLog(cfg, console.stderr))
}

// keepLittle halves, where GOGC does not say, how much garbage there may be to what is in use: for a process that only passes
// media on. Nearly all that it allocates is for handshakes, whose room would be kept for good, a fifth of what its viewers
// need. Who takes media in or makes it allocates all the time, and would look for garbage twice as often.
func keepLittle() {
	const percent = 50
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// tokenCommand is the call of this program, as one would paste it into a shell, that signs with the secret of this
// node. A secret that no file holds is not shown: the shell has to have it in the variable that it can be set by, and
// says so where it has not.
func (c *serveCommand) tokenCommand(cfg config.Config) string {
	var command strings.Builder
	if secret, fileless := c.filelessSecret(cfg); fileless {
		fmt.Fprintf(&command, "%s=${%[1]s:?set it as for this node} ", secret.Env)
	}
	command.WriteString(quoteForShell(os.Args[0]) + " token")
	if c.File != "" {
		command.WriteString(" --config " + quoteForShell(c.File))
	}
	for _, setting := range []struct{ name, value string }{{"data.dir", cfg.Data.Dir}, {"cluster.key_file", cfg.Cluster.KeyFile}} {
		if c.given(setting.name) && setting.value != "" {
			command.WriteString(" --" + setting.name + " " + quoteForShell(setting.value))
		}
	}
	return command.String()
}

// filelessSecret is the setting that this node's tokens are signed by, if it came by a flag or by the environment.
func (c *serveCommand) filelessSecret(cfg config.Config) (key config.Key, fileless bool) {
	name := "cluster.key"
	switch {
	case cfg.Auth.Secret != "":
		name = "auth.secret"
	case cfg.Cluster.Key == "" || cfg.Cluster.KeyFile != "":
		return key, false
	}
	return c.key(name), c.given(name)
}

var bare = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

// quoteForShell makes one word of text, for any POSIX shell.
func quoteForShell(text string) string {
	if bare.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// newLog makes the log of the process. No secret passes it.
func newLog(cfg config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // checked with the configuration
	options := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(auth.Redact(slog.NewJSONHandler(w, options)))
	}
	return slog.New(auth.Redact(slog.NewTextHandler(w, options)))
}

type tokenCommand struct {
	settings
	Publish []string `placeholder:"GLOB" help:"Streams that may be published, such as cup/cam1 or \"cup/*\". May be given several times."`
	Play    []string `placeholder:"GLOB" help:"Streams that may be played. \"**\" stands for all."`
	API     bool     `name:"api" help:"The REST API may be used."`
	User    string   `placeholder:"NAME" help:"Who the token is for. A name is made up if there is none."`
	TTL     lifetime `name:"ttl" default:"24h" help:"How long the token is good, such as 30m, 12h, 7d or 2w; at most 366d."`
}

// lifetime is a duration that may be written in days and weeks.
type lifetime time.Duration

func (l *lifetime) UnmarshalText(text []byte) error {
	d, err := config.ParseDuration(string(text))
	*l = lifetime(d)
	return err
}

func (c *tokenCommand) Run(console console) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	grant := auth.Grant{User: c.User, Publish: c.Publish, Play: c.Play, API: c.API, TTL: time.Duration(c.TTL)}
	if len(c.Publish) == 0 && len(c.Play) == 0 && !c.API {
		return errors.New("say what the token is for: --publish GLOB, --play GLOB, --api, or several of them, such as\n" +
			"  banyan token --publish 'cup/*' --play '**' --ttl 12h")
	}
	if err := grant.Check(); err != nil { // before a secret is made for it
		return err
	}
	file, isNew := secretFile(cfg)
	guard, _, err := newGuard(cfg)
	if err != nil {
		return err
	}
	switch { // the directory that the command was called in is what people get wrong
	case isNew:
		console.note("made a new secret for tokens in %s: servers with another data.dir, or with cluster.key or auth.secret, do not take this token", file)
	case file != "":
		console.note("signed with %s: servers with another data.dir, or with cluster.key or auth.secret, do not take this token", file)
	}
	token, err := guard.Mint(grant)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(console.stdout, token)
	return err
}

// secretFile is the file that the secret for tokens is kept in, and whether it is yet to be made; none where the
// secret is configured.
func secretFile(cfg config.Config) (file string, isNew bool) {
	if cfg.TokenSecret() != "" {
		return "", false
	}
	file = auth.SecretFile(cfg.Data.Dir)
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	_, err := os.Lstat(file)
	return file, errors.Is(err, fs.ErrNotExist)
}

// newGuard makes the guard that serve and token share, so that the one takes what the other prints.
func newGuard(cfg config.Config) (*auth.Guard, *auth.Revocations, error) {
	secret, err := auth.Secret(cfg.TokenSecret(), cfg.Data.Dir)
	if err != nil {
		return nil, nil, err
	}
	revoked, err := auth.OpenRevocations(cfg.Data.Dir)
	if err != nil {
		return nil, nil, err
	}
	var also [][]byte
	if secrets := cfg.TokenSecrets(); len(secrets) > 0 {
		for _, other := range secrets[1:] {
			also = append(also, []byte(other))
		}
	}
	guard, err := auth.NewGuard(auth.Config{
		Secret: secret, Also: also, Publish: cfg.Auth.Publish, Play: cfg.Auth.Play, Revoked: revoked.Revoked,
	})
	return guard, revoked, err
}

type doctorCommand struct {
	settings
	JSON bool `name:"json" help:"Print the findings as JSON."`
}

func (c *doctorCommand) Run(ctx context.Context, console console) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	findings := doctor.Examine(ctx, doctor.Subject{Config: cfg, Pages: web.Files()})
	if c.JSON {
		encoder := json.NewEncoder(console.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(findings)
	} else {
		err = doctor.Print(console.stdout, findings)
	}
	if err == nil && doctor.Failed(findings) {
		err = errors.New("this machine cannot run Banyan as configured: mend what is marked FAIL")
	}
	return err
}

type configCommand struct{ settings }

func (c *configCommand) Run(console console) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	return config.Write(console.stdout, cfg)
}

type versionCommand struct{}

func (versionCommand) Run(console console) error {
	_, err := fmt.Fprintln(console.stdout, versionLine())
	return err
}

func versionLine() string {
	return fmt.Sprintf("banyan %s %s %s/%s", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// versionText is the stamp of the build, or what the Go toolchain noted where `go build` was called by hand.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
