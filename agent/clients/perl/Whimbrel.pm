package Whimbrel;

# Sends telemetry to a Whimbrel agent as lines of JSON: events, metrics, progress, spans, heartbeats.
#
# One file, core modules only, Perl 5.14 or later. Calls never die, and wait for the agent at most 50 ms: the socket does
# not block, lines wait in a buffer of 1000 and go out with later calls. When the buffer is full the oldest is dropped,
# counted, and told to the agent later. Call `flush` at the end. Safe after a fork. Protocol: agent/docs/ldjson.md.
#
#     my $w = Whimbrel->new(address => 'unix:/run/whimbrel/ldjson.sock', source => 'shop');
#     $w->event('order.paid', message => 'order 17 was paid for', attributes => {order => 17});
#     my $span = $w->span('charge', kind => 'client');
#     $span->end(status => 'ok');
#     $w->flush(2) or warn 'not durable';

use strict;
use warnings;
use B ();
use Errno qw(EAGAIN EWOULDBLOCK EINTR EINPROGRESS);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Time::HiRes qw(time);

our $VERSION = '1.0';

use constant {BUFFER => 1000, LONGEST_LINE => 65_536, CONNECT => 0.05, FIRST_BACKOFF => 0.1, LONGEST_BACKOFF => 30};

my $json = JSON::PP->new->utf8;  # for answers; lines are written by _json, which is faster

sub new {
    my ($class, %given) = @_;
    my $self = bless {
        address => $given{address} || 'unix:/run/whimbrel/ldjson.sock',
        source => $given{source}, token => $given{token}, sent => 0, dropped => 0, spans => [],
    }, $class;
    my $parent = $ENV{TRACEPARENT} || '';
    $self->{root} = [$1, $2] if $parent =~ /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-/;
    $self->_begin;
    return $self;
}

sub event { my ($self, $name, %more) = @_; $self->_send('event', $self->_within, severity => 'info', name => $name, %more) }
sub metric { my ($self, $name, $value, %more) = @_; $self->_send('metric', name => $name, value => _number($value), %more) }
sub heartbeat { my ($self, $interval) = @_; $self->_send('heartbeat', interval => _number($interval || 30)) }

sub progress {
    my ($self, $name, $current, %more) = @_;
    $more{total} = _number($more{total}) if defined $more{total};
    $self->_send('progress', $self->_within, name => $name, current => _number($current), %more);
}

# What this source is; sent again with every connection.
sub resource { my ($self, %attributes) = @_; $self->{resource} = {%attributes}; $self->_send('resource', attributes => {%attributes}) }

# A span, to be ended by `end`; spans that begin before that are within it.
sub span {
    my ($self, $name, %more) = @_;
    my $outer = delete $more{parent} || $self->{spans}[-1] || $self->{root};
    my $span = bless {
        client => $self, name => $name, more => \%more, start => time, span_id => _id(8),
        trace_id => $outer ? $outer->[0] : _id(16), parent_id => $outer ? $outer->[1] : undef,
    }, 'Whimbrel::Span';
    push @{$self->{spans}}, [$span->{trace_id}, $span->{span_id}];
    return $span;
}

# What a child process finds in $TRACEPARENT (W3C Trace Context).
sub traceparent {
    my $self = shift;
    my $current = $self->{spans}[-1] || $self->{root} or return;
    return "00-$current->[0]-$current->[1]-01";
}

# Waits until everything sent so far is durable; false: the agent did not say so in time.
sub flush {
    my ($self, $timeout) = @_;
    my $end = time + (defined $timeout ? $timeout : 5);
    my $mine = ++$self->{asked};
    $self->_send('metric', name => 'client.flush', value => 1, ack => $mine);
    while ($self->{acknowledged} < $mine && time < $end) {
        $self->_pump(1);
        my $wait = $self->{socket} ? 0.01 : $self->{retry_at} - time;
        my $left = $end - time;
        $wait = $left if $wait > $left;
        if ($self->{socket}) { IO::Select->new($self->{socket})->can_read($wait) if $wait > 0 }
        else { select undef, undef, undef, $wait > 0 ? $wait : 0 }
    }
    return $self->{acknowledged} >= $mine;
}

sub close {
    my ($self, $timeout) = @_;
    my $durable = $self->flush(defined $timeout ? $timeout : 2);
    $self->{dropped} += @{$self->{lines}} unless $durable;
    $self->_hang_up;
    $self->{lines} = [];
    return $durable;
}

sub sent { $_[0]{sent} }
sub dropped { $_[0]{dropped} }

sub _begin {
    my $self = shift;
    # A child leaves its parent's connection alone, and has a buffer of its own.
    @$self{qw(pid socket lines out heard untold asked acknowledged retry_at backoff)} =
        ($$, undef, [], '', '', 0, 0, 0, 0, FIRST_BACKOFF);
}

sub _within {
    my $self = shift;
    my $current = $self->{spans}[-1] || $self->{root} or return;
    return (trace_id => $current->[0], span_id => $current->[1]);
}

sub _id { my $bytes = shift; my $id; do { $id = join '', map { sprintf '%02x', int rand 256 } 1 .. $bytes } while $id =~ /^0+$/; return $id }

# A number, and none where it is none: JSON has no NaN.
sub _number { my $n = shift; no warnings; return defined $n && $n =~ /^\s*-?[0-9]/ && $n == $n && abs($n) < 9e308 ? $n + 0 : undef }

# A value as JSON. Bytes that are no UTF-8 are taken for Latin-1; NaN, the infinities and nothing are null.
sub _json {
    my $value = shift;
    return 'null' unless defined $value;
    if (my $ref = ref $value) {
        return '[' . join(',', map { _json($_) } @$value) . ']' if $ref eq 'ARRAY';
        return '{' . join(',', map { _text($_) . ':' . _json($value->{$_}) } grep { defined $value->{$_} } sort keys %$value) . '}'
            if $ref eq 'HASH';
        return $value ? 'true' : 'false' if JSON::PP::is_bool($value);
        return _text("$value");
    }
    # What was made as a number stays one: it is no text to Perl.
    return B::svref_2object(\$value)->FLAGS & (B::SVf_IOK | B::SVf_NOK) && !(B::svref_2object(\$value)->FLAGS & B::SVf_POK)
        ? ($value == $value && abs($value) < 9e308 ? "$value" : 'null')
        : _text($value);
}

sub _text {
    my $text = shift;
    if ($text =~ /[^\x20-\x7e]/) {
        if (utf8::is_utf8($text)) { utf8::encode($text) }
        else { my $copy = $text; utf8::decode($copy) or do { utf8::upgrade($text); utf8::encode($text) } }
    }
    $text =~ s/([\x00-\x1f"\\])/sprintf '\\u%04x', ord $1/ge;
    return qq("$text");
}

sub _send {
    my ($self, $type, %fields) = @_;
    my $line = eval {
        local $SIG{__DIE__};
        $fields{source} = $self->{source} unless exists $fields{source};
        $fields{timestamp} = 0 + sprintf '%.6f', time unless exists $fields{timestamp};
        _json({type => $type, %fields});
    };
    $self->_begin if $self->{pid} != $$;
    if (!defined $line || length $line > LONGEST_LINE) { $self->_drop(1); return }
    if (@{$self->{lines}} >= BUFFER) { shift @{$self->{lines}}; $self->_drop(1) }
    push @{$self->{lines}}, $line;
    $self->_pump(0);
    return;
}

sub _drop { my ($self, $count) = @_; $self->{dropped} += $count; $self->{untold} += $count }

# Sends what can be sent without waiting. The breaker: after a failure nothing is tried until `retry_at` (open), then one
# connection is (half-open); what works closes it.
sub _pump {
    my $self = shift;
    local ($@, $!, $SIG{PIPE}) = ($@, $!, 'IGNORE');
    eval {
        local $SIG{__DIE__};
        if (!$self->{socket}) {
            return if time < $self->{retry_at};
            $self->{retry_at} = time + $self->{backoff} * (0.5 + rand 0.5);
            $self->{backoff} = 2 * $self->{backoff} < LONGEST_BACKOFF ? 2 * $self->{backoff} : LONGEST_BACKOFF;
            $self->_connect or return;
        }
        while (1) {
            if (!length $self->{out}) {
                if ($self->{untold}) {
                    my %tell = (type => 'metric', name => 'client.told', value => $self->{untold}, dropped => $self->{untold});
                    $tell{source} = $self->{source} if defined $self->{source};
                    $self->{out} = _json(\%tell) . "\n";
                    $self->{untold} = 0;
                }
                elsif (@{$self->{lines}}) { $self->{out} = shift(@{$self->{lines}}) . "\n"; $self->{sent}++ }
                else { last }
            }
            my $wrote = syswrite $self->{socket}, $self->{out};
            if (defined $wrote) { substr $self->{out}, 0, $wrote, ''; $self->{backoff} = FIRST_BACKOFF; next }
            last if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
            return $self->_broken;
        }
        $self->_hear;
        1;
    } or $@ and $self->_broken;
    return;
}

sub _connect {
    my $self = shift;
    my $socket = $self->{address} =~ /^unix:(.*)/
        ? IO::Socket::UNIX->new(Peer => $1, Timeout => CONNECT)
        : IO::Socket::INET->new(PeerAddr => $self->{address}, Timeout => CONNECT);
    return unless $socket;
    $socket->blocking(0);
    @$self{qw(socket out heard)} = ($socket, '', '');
    $self->{out} .= _json({type => 'hello', version => 1, token => $self->{token}}) . "\n" if defined $self->{token};
    if ($self->{resource}) {
        my %line = (type => 'resource', attributes => $self->{resource});
        $line{source} = $self->{source} if defined $self->{source};
        $self->{out} .= _json(\%line) . "\n";
    }
    return 1;
}

# The line that was on its way goes again; if the agent has it already it arrives twice.
sub _broken {
    my $self = shift;
    $self->{retry_at} = time + $self->{backoff} * (0.5 + rand 0.5);
    $self->_drop(1) if length $self->{out};
    $self->_hang_up;
    return;
}

sub _hang_up { my $self = shift; CORE::close $self->{socket} if $self->{socket}; @$self{qw(socket out heard)} = (undef, '', '') }

sub _hear {
    my $self = shift;
    while (1) {
        my $read = sysread $self->{socket}, my $data, 65_536;
        if (!defined $read) { last if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR; return $self->_broken }
        return $self->_broken unless $read;
        $self->{heard} .= $data;
        while ($self->{heard} =~ s/^([^\n]*)\n//) {
            my $answer = eval { $json->decode($1) } or next;
            $self->{acknowledged} = $answer->{ack} if ($answer->{type} || '') eq 'ack' && $answer->{ack} > $self->{acknowledged};
            $self->{dropped}++ if ($answer->{type} || '') eq 'error';
        }
    }
}

package Whimbrel::Span;

sub trace_id { $_[0]{trace_id} }
sub traceparent { "00-$_[0]{trace_id}-$_[0]{span_id}-01" }

sub end {
    my ($self, %more) = @_;
    return if $self->{ended}++;
    my $client = $self->{client};
    @{$client->{spans}} = grep { $_->[1] ne $self->{span_id} } @{$client->{spans}};
    my %times = (start => 0 + sprintf('%.6f', $self->{start}), end => 0 + sprintf('%.6f', Time::HiRes::time()));
    $client->_send('span', name => $self->{name}, trace_id => $self->{trace_id}, span_id => $self->{span_id},
        parent_id => $self->{parent_id}, %times, %{$self->{more}}, %more);
    return;
}

sub DESTROY { local ($@, $!, $?); $_[0]->end }

1;
