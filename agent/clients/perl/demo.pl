#!/usr/bin/perl
# Three services and a script, four processes, one trace: each hands its span on in $TRACEPARENT.
#
#     perl demo.pl unix:/run/whimbrel/ldjson.sock
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Time::HiRes qw(sleep);
use Whimbrel;

my ($address, $role) = @ARGV;
die "usage: perl demo.pl ADDRESS\n" unless $address;
$role ||= 'script';

# Who calls whom.
my %calls = (script => 'shop', shop => 'payment', payment => 'bank');

my $w = Whimbrel->new(address => $address, source => $role);
my $span = $w->span($role eq 'script' ? 'nightly orders' : "$role.handle", kind => $role eq 'script' ? 'internal' : 'server');
$w->event("$role.begun", message => "$role has begun", attributes => {pid => $$});
sleep 0.02;
if (my $next = $calls{$role}) {
    my $call = $w->span("call $next", kind => 'client');
    local $ENV{TRACEPARENT} = $call->traceparent;
    my $failed = system $^X, $0, $address, $next;
    $call->end(status => $failed ? 'error' : 'ok');
}
sleep 0.02;
$w->metric('orders', 1, kind => 'counter');
$span->end(status => 'ok');
print 'trace ', $span->trace_id, "\n" if $role eq 'script';
$w->close(5) or die "$role: not durable\n";
