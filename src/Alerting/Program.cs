using Platform.Alerting;
using Platform.Alerting.Alerts;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.Alerting.Doors;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;
using Platform.Alerting.Rules;
using Platform.Alerting.Silences;
using Platform.Alerting.Windows;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("alertingdb", plansEachTime: true);
builder.AddMessaging("alerting");

builder.Services.AddSingleton<AlertingMetrics>();
builder.AddRules();
builder.AddChannels();
builder.AddRuleGroups();
builder.AddNotifications();
builder.AddOnCall();
builder.AddRouting();
builder.AddSilences();
builder.AddAlerts();
builder.AddWindows();
builder.AddDoors();
builder.AddCanaries();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapRules();
app.MapRuleGroups();
app.MapAlerts();
app.MapAlertWhy();
app.MapRouting();
app.MapSilences();
app.MapChannels();
app.MapNotifications();
app.MapOnCall();
app.MapDoors();
app.MapDeadLetters("alerting");

app.Run();
