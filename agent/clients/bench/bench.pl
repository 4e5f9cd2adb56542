#!/usr/bin/perl
# Microseconds a call: perl bench.pl ADDRESS
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use Time::HiRes qw(time);
use Whimbrel;

my ($calls, $longest) = (20000, 0);
my $w = Whimbrel->new(address => $ARGV[0] || 'unix:./ldjson.sock', source => 'bench');
my $start = time;
for (1 .. $calls) {
    my $before = time;
    $w->event('order.paid', message => 'an order was paid for', attributes => {shop => 'north'});
    my $one = time - $before;
    $longest = $one if $one > $longest;
}
my $took = time - $start;
my $durable = $w->flush(2) ? 'yes' : 'no';
printf "perl: %.1f us a call, the longest %.0f us; sent %d, dropped %d, durable: %s\n", $took / $calls * 1e6, $longest * 1e6,
    $w->sent, $w->dropped, $durable;
