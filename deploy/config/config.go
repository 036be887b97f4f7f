// Package config is the configuration of the binary: one YAML file, of which every key is also a flag --a.b and an
// environment variable BANYAN_A_B.
//
// [Config] is the single source. Each of its fields says in tags what its key is called, what its default is, what
// it means and which values are good; the defaults, the flags, the names of the variables, the checks and the page
// that `banyan config` prints all follow from them. To add a key, add a field.
//
// [Load] lays the sources over each other (flags over environment over file over defaults), and either returns a
// Config in which every value has been checked, or an error with one line for every mistake: the key, what was
// found and where, and what to write instead. Unknown keys are mistakes too, as a misspelt key is a setting that
// silently does not hold.
package config

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
)

// Config is everything that can be set. The tags of a field:
//
//	key      its name within its section
//	default  as it would be written in the file
//	doc      what it means, for `banyan config` and --help
//	check    which values are good, see checks
//	secret   "true" if the value is never printed
//	later    "true" if nothing uses the key yet
type Config struct {
	Data struct {
		Dir string `key:"dir" default:"./data" check:"text" doc:"Directory for what must outlive the process. Made if it is missing."`
	} `key:"data"`

	Node struct {
		Name   string        `key:"name" default:"" check:"label" doc:"Name of this node, unique in the cluster. Empty: the name of the machine."`
		Region string        `key:"region" default:"local" check:"label" doc:"Where this node stands. Viewers are sent to edges of their region."`
		Line   int           `key:"line" default:"0" check:"from=0,to=1000000" doc:"How much can leave this node, in Mbit/s. Where it is in use, new viewers and nodes go elsewhere, or are asked to come back. 0: what the fastest network card tells; where none does, 1000 is taken to weigh nodes by, and nobody is turned away."`
		Drain  time.Duration `key:"drain" default:"0s" check:"from=0s,to=50s" doc:"How long a node that is told to stop answers /readyz with 503 and takes no new sessions before it closes its doors: so that balancers notice, and publishers, whom no other node can take over, have that long to end."`
	} `key:"node"`

	HTTP struct {
		Addr           string   `key:"addr" default:":8080" check:"addr" doc:"Address for WHIP, WHEP, HLS, the pages and the API."`
		TrustedProxies []string `key:"trusted_proxies" default:"[]" check:"network" doc:"Networks of proxies in front of this node, such as 10.0.0.0/8: their X-Forwarded-For says who the client is. Without it all clients behind a proxy share one client's limits."`
		URL            string   `key:"url" default:"" check:"text,optional" doc:"Base of the addresses at which viewers reach this node, such as https://edge1.example.org. Empty: http.addr at the address that other nodes see."`
		TLS            struct {
			Addr string `key:"addr" default:"" check:"addr,optional" doc:"Address for the same over HTTPS. Empty: off."`
			Cert string `key:"cert" default:"" check:"text,optional" doc:"Certificate chain, a PEM file. A new file is taken up without a restart."`
			Key  string `key:"key" default:"" check:"text,optional" doc:"Private key of the certificate, a PEM file."`
		} `key:"tls"`
	} `key:"http"`

	Admin struct {
		Addr string `key:"addr" default:"127.0.0.1:9090" check:"addr,optional" doc:"Address for metrics and profiles. It asks for no token: keep it away from strangers. Empty: off."`
	} `key:"admin"`

	RTSP struct {
		Addr    string `key:"addr" default:":8554" check:"addr,optional" doc:"Address for RTSP. Empty: off."`
		UDPAddr string `key:"udp_addr" default:":8000" check:"addr,even,optional" doc:"Address for RTP over UDP of RTSP sessions: an even port, RTCP takes the next one. Port 0: any free pair. Empty: TCP only."`
		TLS     struct {
			Addr string `key:"addr" default:"" check:"addr,optional" doc:"Address for the same over TLS (rtsps://), with the certificate of http.tls. Media is interleaved, there is no UDP. Empty: off."`
		} `key:"tls"`
		Users []RTSPUser `key:"users" default:"[]" secret:"true" doc:"Users with a password for devices that know only Digest authentication: a list of {user: gate, password: …, publish: [cup/gate], play: [\"cup/*\"]}. Tokens need no entry here."`
		Pull  []Pull     `key:"pull" default:"[]" doc:"Cameras to fetch by RTSP: a list of {stream: cup/cam1, url: rtsp://…, transport: auto|tcp|udp}."`
	} `key:"rtsp"`

	RTC struct {
		Addr      string   `key:"addr" default:":8189" check:"addr" doc:"Address for the media of WebRTC, over UDP and TCP."`
		PublicIPs []string `key:"public_ips" default:"[]" check:"ip" doc:"Addresses to tell to WebRTC peers, where the machine does not have them itself (behind NAT)."`
		Loopback  bool     `key:"loopback" default:"false" doc:"Tell WebRTC peers the loopback addresses too, for tests and demos on one machine."`
		Engine    string   `key:"engine" default:"auto" check:"oneof=auto|native|pion" doc:"What sends to WebRTC viewers: native (the fan-out engine, many times cheaper per viewer), pion (a plain connection each), or auto (native where the system has the calls for it, which is Linux)."`

		ICEServers []ICEServer `key:"ice_servers" default:"[]" secret:"true" doc:"STUN and TURN servers that WHIP and WHEP tell their clients to use, in Link headers: a list of {url: \"stun:stun.example.org:3478\"} and {url: \"turn:turn.example.org:3478?transport=udp\", username: ana, credential: …}. With {url: …, secret: …} in place of the two each client gets credentials of its own, good for a day: the secret is what coturn calls static-auth-secret."`
	} `key:"rtc"`

	Auth struct {
		Secret  string    `key:"secret" default:"" check:"secret" secret:"true" doc:"Secret that signs tokens, at least 32 bytes, the same on all nodes. Set it by file or environment, as other users of a machine can see arguments. Empty: one is made and kept in data.dir/secret."`
		Publish auth.Mode `key:"publish" default:"token" check:"oneof=token|open" doc:"Who may publish: token (who has one for the stream) or open (everybody)."`
		Play    auth.Mode `key:"play" default:"open" check:"oneof=token|open" doc:"Who may watch: token (who has one for the stream) or open (everybody)."`
	} `key:"auth"`

	Ladder struct {
		Default []media.Format `key:"default" default:"[source, 720p, 360p, opus, aac]" check:"format,some" doc:"Formats that are made of each stream: source, a height such as 720p, 1080p60 or 480p-vp8, opus, aac. Never larger than the source."`
		Streams []LadderRule   `key:"streams" default:"[]" doc:"Other ladders for some streams; the first match holds: a list of {match: \"cup/*\", formats: [source, 1080p, opus, aac], always: true}. With always, formats are made even if nobody reads them."`
	} `key:"ladder"`

	Ring struct {
		Seconds time.Duration `key:"seconds" default:"12s" check:"from=2s,to=10m" doc:"How much of each track is kept in memory: late readers, retransmission and HLS live from it."`
		Bytes   Size          `key:"bytes" default:"32MiB" check:"from=1MiB,to=4GiB" doc:"The most memory that one track may take; the window becomes shorter where it would take more."`
	} `key:"ring"`

	HLS struct {
		Segment time.Duration `key:"segment" default:"2s" check:"from=1s,to=10s" doc:"Length of an HLS segment in whole seconds, and the distance of keyframes in the formats that are made here."`
		Part    time.Duration `key:"part" default:"200ms" check:"from=50ms,to=5s" doc:"Length of a part of a segment. Shorter is less delay and more requests. The segment must be a whole number of parts."`
		Window  time.Duration `key:"window" default:"30s" check:"to=1h" doc:"How far back a playlist reaches, at least eight segments."`
	} `key:"hls"`

	Transcoder struct {
		FFmpeg   string        `key:"ffmpeg" default:"ffmpeg" check:"text" doc:"The FFmpeg program, by name or path."`
		Encoder  string        `key:"encoder" default:"auto" check:"oneof=auto|libx264|h264_nvenc|h264_vaapi|h264_qsv" doc:"Encoder for H.264: auto (the first that works here), libx264, h264_nvenc, h264_vaapi or h264_qsv."`
		Preset   string        `key:"preset" default:"veryfast" check:"oneof=ultrafast|superfast|veryfast|faster|fast|medium|slow" doc:"Preset of libx264: slower ones look better and need more processor."`
		Linger   time.Duration `key:"linger" default:"20s" check:"from=0s,to=1h" doc:"How long a format is still made after its last reader has left."`
		Workers  int           `key:"workers" default:"0" check:"from=0,to=1024" doc:"The most FFmpeg processes at one time; where more are wanted, the dearest formats wait. 0: eight for each processor."`
		Capacity int           `key:"capacity" default:"0" check:"from=0,to=1000000" doc:"How much processor FFmpeg may take for all formats together, by estimate, in thousandths of a core (2000: two cores). Where it is short, the formats whose viewers lose least are not made. 0: all cores."`
	} `key:"transcoder"`

	Cluster struct {
		Addr      string        `key:"addr" default:":7946" check:"addr" doc:"Address for the gossip of nodes, UDP and TCP. It is opened where cluster.key or cluster.join is set: a node without both stands alone."`
		Join      []string      `key:"join" default:"[]" check:"addr" doc:"Addresses of nodes of the cluster, such as 10.0.0.1:7946. One that is up is enough."`
		Key       string        `key:"key" default:"" check:"secrets" secret:"true" doc:"Key that all nodes of the cluster share: for gossip, for the links between them, and for tokens where auth.secret is empty. While it is changed, several, joined by commas: the first is used, all are taken."`
		KeyFile   string        `key:"key_file" default:"" check:"text,optional" doc:"File with cluster.key, in place of it: arguments and environments are seen by more people than a file of mode 600."`
		Probe     time.Duration `key:"probe" default:"200ms" check:"from=50ms,to=10s" doc:"How often nodes check each other: a dead one is noticed within about five times that. It must be more than the longest round trip between any two nodes."`
		Allow     []string      `key:"allow" default:"[]" check:"network" doc:"Networks that gossip is taken from, such as 10.0.0.0/8. Empty: all."`
		Advertise string        `key:"advertise" default:"" check:"ip,optional" doc:"IP address at which other nodes reach this one. Empty: found out."`
	} `key:"cluster"`

	Link struct {
		Addr string `key:"addr" default:":7947" check:"addr" doc:"Address for media between nodes, over UDP."`
	} `key:"link"`

	Relay struct {
		Formats []media.Format `key:"formats" default:"[]" check:"format" doc:"Formats that this node passes on as a relay, such as source,720p,opus. Empty: all."`
	} `key:"relay"`

	Edge struct {
		Formats      []media.Format `key:"formats" default:"[]" check:"format" doc:"Formats that this node has for viewers as an edge. Empty: all."`
		Drain        time.Duration  `key:"drain" default:"15s" check:"from=0s,to=50s" doc:"The longest that a node which is told to stop serves its viewers on while they turn to other edges. It ends as soon as they have, and at once where there is no other edge."`
		RegionHeader string         `key:"region_header" default:"" check:"header,optional" doc:"Header in which a proxy says the region of a viewer, such as X-Region. It is believed only of http.trusted_proxies. Empty: none."`
		GeoIP        string         `key:"geoip" default:"" check:"text,optional" doc:"File of countries by address, in the format of MaxMind DB. With edge.regions it says in which region a viewer is. Empty: none."`
		Regions      []EdgeRegion   `key:"regions" default:"[]" doc:"Which countries and continents a region of nodes serves: a list of {region: eu, countries: [DE, FR], continents: [EU]}. A country counts before a continent."`
	} `key:"edge"`

	// What follows is for parts that are not there yet. The keys are taken, so that one file serves nodes of several
	// versions; setting one is answered with a warning.

	TURN struct {
		Addr string `key:"addr" default:"" check:"addr,optional" later:"true" doc:"Address for STUN and TURN."`
	} `key:"turn"`

	Redis struct {
		URL string `key:"url" default:"" check:"text,optional" secret:"true" later:"true" doc:"Redis for the presence of users on many nodes."`
	} `key:"redis"`

	Kafka struct {
		Brokers []string `key:"brokers" default:"[]" check:"addr" later:"true" doc:"Kafka for events."`
	} `key:"kafka"`

	S3 struct {
		Bucket    string `key:"bucket" default:"" check:"text,optional" later:"true" doc:"Bucket for recordings and files."`
		Endpoint  string `key:"endpoint" default:"" check:"text,optional" later:"true" doc:"Endpoint of the S3 server. Empty: that of AWS."`
		Region    string `key:"region" default:"" check:"text,optional" later:"true" doc:"Region of the bucket."`
		AccessKey string `key:"access_key" default:"" check:"text,optional" secret:"true" later:"true" doc:"Access key."`
		SecretKey string `key:"secret_key" default:"" check:"text,optional" secret:"true" later:"true" doc:"Secret key."`
		PathStyle bool   `key:"path_style" default:"false" later:"true" doc:"Put the bucket into the path of URLs, as most servers but AWS want it."`
	} `key:"s3"`

	Database struct {
		URL string `key:"url" default:"" check:"text,optional" secret:"true" later:"true" doc:"Database of users. Empty: SQLite in data.dir."`
	} `key:"database"`

	Log struct {
		Level  string `key:"level" default:"info" check:"oneof=debug|info|warn|error" doc:"What is logged: debug, info, warn or error, and all that is worse."`
		Format string `key:"format" default:"text" check:"oneof=text|json" doc:"How it is written: text or json."`
	} `key:"log"`
}

// RTSPUser may publish and watch by RTSP what its patterns match.
type RTSPUser struct {
	User     string      `key:"user"`
	Password string      `key:"password"`
	Publish  []auth.Glob `key:"publish"`
	Play     []auth.Glob `key:"play"`
}

// ICEServer is a STUN or TURN server that clients of WHIP and WHEP are told of.
type ICEServer struct {
	URL        string `key:"url"` // stun:, stuns: (RFC 7064), turn: or turns: (RFC 7065)
	Username   string `key:"username"`
	Credential string `key:"credential"` // password of the user
	Secret     string `key:"secret"`     // in place of the two: that which the server checks credentials with a time limit by
}

// Pull is a camera that is fetched.
type Pull struct {
	Stream    media.Name `key:"stream"`
	URL       string     `key:"url"`       // rtsp:// or rtsps://, with user and password if the camera wants them
	Transport string     `key:"transport"` // tcp, udp, or auto: what the camera takes, tcp first
}

// LadderRule is the ladder of the streams that match.
type LadderRule struct {
	Match   auth.Glob      `key:"match"`
	Formats []media.Format `key:"formats"`
	Always  bool           `key:"always"` // make the formats even if nobody reads them
}

// EdgeRegion says from where viewers are sent to edges of a region.
type EdgeRegion struct {
	Region     string   `key:"region"`
	Countries  []string `key:"countries"`  // ISO 3166-1 alpha-2
	Continents []string `key:"continents"` // AF, AN, AS, EU, NA, OC or SA
}

// Formats returns the ladder of a stream and whether it is made without readers too.
func (c *Config) Formats(stream media.Name) (formats []media.Format, always bool) {
	for _, rule := range c.Ladder.Streams {
		if rule.Match.Match(stream) {
			return rule.Formats, rule.Always
		}
	}
	return c.Ladder.Default, false
}

// ClusterKeys are the keys of cluster.key: the first is used, the others are taken too. None where it is empty.
func (c *Config) ClusterKeys() (keys [][]byte) {
	for _, key := range splitKeys(c.Cluster.Key) {
		keys = append(keys, []byte(key))
	}
	return keys
}

func splitKeys(list string) (keys []string) {
	for key := range strings.SplitSeq(list, ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// TokenSecret is what tokens are signed with, as far as the configuration says: auth.secret, or else what follows from
// cluster.key, so that all nodes of a cluster take each other's tokens. Empty where a secret of the node's own is used.
func (c *Config) TokenSecret() string {
	if secrets := c.TokenSecrets(); len(secrets) > 0 {
		return secrets[0]
	}
	return ""
}

// TokenSecrets are TokenSecret and those of other nodes whose tokens are taken too, while the cluster's key is changed.
func (c *Config) TokenSecrets() (secrets []string) {
	if c.Auth.Secret != "" {
		return []string{c.Auth.Secret}
	}
	for _, key := range c.ClusterKeys() {
		secret, err := hkdf.Key(sha256.New, key, nil, "banyan tokens", auth.MinSecretBytes)
		if err != nil {
			panic(err) // only for keys of absurd length
		}
		secrets = append(secrets, hex.EncodeToString(secret))
	}
	return secrets
}

// Clustered tells whether the node is one of several.
func (c *Config) Clustered() bool { return c.Cluster.Key != "" || len(c.Cluster.Join) > 0 }
